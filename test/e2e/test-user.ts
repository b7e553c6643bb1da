import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, inject } from 'vitest';
import { bedCache, type BedHost } from '../bed/bed-host.ts';

export const program = inject('program');

export type Outcome = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** A running program, and its outcome. */
type RunningCommand = { readonly process: ChildProcess; readonly ended: Promise<Outcome> };

/** `describe` for tests that need hosts; skipped if setup.ts found that none can start. */
export const describeOnBed = describe.skipIf(inject('bedReason') !== undefined);

/** A separate user: an empty home folder, the docker CLI's settings with Compose and Buildx, no SSH agent. */
export type User = AsyncDisposable & {
  readonly home: string;
  readonly env: Readonly<Record<string, string>>;
  /** Runs slipway to its end without a terminal. */
  slipway(...argv: readonly string[]): Promise<Outcome>;
  /** Runs `slipway` with more environment variables or input. */
  slipwayWith(
    how: { readonly env?: Readonly<Record<string, string>>; readonly stdin?: string },
    ...argv: readonly string[]
  ): Promise<Outcome>;
  /** Starts slipway and returns the process, so that a test can interrupt it. */
  start(...argv: readonly string[]): RunningCommand;
  /** Starts slipway with more environment variables. */
  startWith(more: Readonly<Record<string, string>>, ...argv: readonly string[]): RunningCommand;
  /** Runs the real docker CLI as this user. */
  docker(...argv: readonly string[]): Promise<Outcome>;
  /** Runs any program as this user. */
  run(
    file: string,
    argv: readonly string[],
    how?: { readonly env?: Readonly<Record<string, string>>; readonly stdin?: string; readonly cwd?: string },
  ): Promise<Outcome>;
};

function startSlipway(env: User['env'], argv: readonly string[]): RunningCommand {
  const child = spawn(process.execPath, [program, ...argv], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  return { process: child, ended: collectOutcome(child, undefined) };
}

export async function createUser(): Promise<User> {
  const home = await mkdtemp(join(tmpdir(), 'slipway-user-'));
  await mkdir(join(home, '.docker'));
  await symlink(bedCache.plugins, join(home, '.docker', 'cli-plugins')).catch(async () =>
    cp(bedCache.plugins, join(home, '.docker', 'cli-plugins'), { recursive: true }),
  );
  // Both commands by name, so that a test types what users type.
  await mkdir(join(home, 'bin'));
  await symlink(program, join(home, 'bin', 'slipway'));
  await symlink(join(dirname(program), 'docker-machine.js'), join(home, 'bin', 'docker-machine'));
  const env = {
    HOME: home,
    PATH: `${join(home, 'bin')}:${process.env.PATH ?? ''}`,
    LANG: 'C.UTF-8',
    SHELL: '/bin/bash',
    // A spare that a test builds in the background would outlive the test.
    SLIPWAY_QEMU_WARM: 'false',
  };
  const run: User['run'] = (file, argv, how = {}) =>
    collectOutcome(
      execFile(file, argv, {
        env: { ...env, ...how.env },
        ...(how.cwd === undefined ? {} : { cwd: how.cwd }),
        maxBuffer: 64 * 1024 * 1024,
      }),
      how.stdin,
    );
  return {
    home,
    env,
    run,
    slipway: (...argv) => run(process.execPath, [program, ...argv]),
    slipwayWith: (how, ...argv) => run(process.execPath, [program, ...argv], how),
    start: (...argv) => startSlipway(env, argv),
    startWith: (more, ...argv) => startSlipway({ ...env, ...more }, argv),
    docker: (...argv) => run('docker', argv),
    async [Symbol.asyncDispose]() {
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** Returns the flags that lead to a host of the bed. */
export function hostFlags(host: BedHost, user = 'root'): readonly string[] {
  return ['--generic-ip-address', host.address, '--generic-ssh-user', user, '--generic-ssh-key', host.keyFile];
}

function collectOutcome(child: ChildProcess, stdin: string | undefined): Promise<Outcome> {
  // A command may end without having read its input; its exit status is what counts.
  child.stdin?.on('error', () => {});
  child.stdin?.end(stdin ?? '');
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) =>
      resolve({ code: code ?? (signal === 'SIGKILL' ? 137 : 143), stdout, stderr }),
    );
  });
}

/** Returns the outcome of a command, and throws if the command failed. */
export async function expectSuccess(outcome: Promise<Outcome>): Promise<Outcome> {
  const result = await outcome;
  if (result.code !== 0) throw new Error(`exit status ${result.code}\n${result.stdout}\n${result.stderr}`);
  return result;
}

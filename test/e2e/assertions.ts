import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import type { MachineRecord } from '../../src/machine/record-format.ts';
import type { BedHost } from '../bed/bed-host.ts';
import { expectSuccess, type Outcome, type User } from './test-user.ts';

/** A failed command as a person reads it: what happened, another program's lines about it, and what to type next. */
export type ReportedFailure = {
  readonly status: number;
  readonly sentence: string;
  readonly detail: readonly string[];
  readonly hint: string;
};

/** Requires a failure to end with one sentence and one hint; throws if a stack or a second sentence follows. */
export async function expectFailure(outcome: Promise<Outcome> | Outcome): Promise<ReportedFailure> {
  const { code, stdout, stderr } = await outcome;
  const lines = stderr.trimEnd().split('\n');
  const [sentence = '', ...rest] = lines.slice(lines.findIndex((line) => line.startsWith('✗ ')));
  const detail = rest.filter((line) => line.startsWith('  │ ')).map((line) => line.slice('  │ '.length));
  const hints = rest.filter((line) => line.startsWith('→ ')).map((line) => line.slice('→ '.length));
  if (code === 0 || !sentence.startsWith('✗ ') || hints.length !== 1 || detail.length + hints.length < rest.length)
    throw new Error(`expected one sentence and one hint, got status ${code}\n${stdout}\n${stderr}`);
  return { status: code, sentence: sentence.slice('✗ '.length), detail, hint: hints[0] ?? '' };
}

export async function readRecord(user: User, name: string): Promise<MachineRecord> {
  const { stdout } = await expectSuccess(user.slipway('inspect', name, '--json'));
  return JSON.parse(stdout) as MachineRecord;
}

/** Expects the machine's engine to answer the real docker CLI over the context that Slipway wrote. */
export async function expectEngineAnswer(user: User, name: string): Promise<void> {
  const { stdout } = await expectSuccess(user.docker('--context', name, 'version', '--format', '{{.Server.Os}}'));
  expect(stdout.trim()).toBe('linux');
}

/** Waits for something that another process does. Two minutes are far more than most of it takes. */
export async function waitUntil(what: string, isTrue: () => Promise<boolean>, seconds = 120): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!(await isTrue())) {
    if (performance.now() > end) throw new Error(`timed out while waiting until ${what}`);
    await sleep(50);
  }
}

/** Resolves once the running command has printed this on stderr; rejects if it ends without. */
export function waitForStderr(command: ReturnType<User['start']>, what: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    command.process.stderr?.on('data', (chunk: string) => {
      text += chunk;
      if (what.test(text)) resolve();
    });
    command.ended.then(
      () => reject(new Error(`the command ended without printing ${String(what)}\n${text}`)),
      (error: unknown) => reject(error instanceof Error ? error : new Error(String(error))),
    );
  });
}

/** Expects that the user has no file of any machine left: no record, no lock, no docker context. */
export async function expectNothingLeft(user: User): Promise<void> {
  expect(await listEntries(join(user.home, '.slipway', 'machines'))).toEqual([]);
  expect(await listEntries(join(user.home, '.docker', 'contexts', 'meta'))).toEqual([]);
  expect(await listEntries(join(user.home, '.docker', 'contexts', 'tls'))).toEqual([]);
}

async function listEntries(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}

/** Counts how often systemd has started this host's engine, by the message's id, because its words change. */
export async function countEngineStarts(host: BedHost): Promise<number> {
  return Number(
    await host.runOrThrow('journalctl -o cat UNIT=docker.service MESSAGE_ID=39f53479d3a045ac8e11786248231fbf | wc -l'),
  );
}

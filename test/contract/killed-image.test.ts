import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openImageStore } from '../../src/images/image-store.ts';
import { writeScript } from '../fakes/executable-scripts.ts';
import { hasProgram, runProgram, type ProgramResult } from '../fakes/run-program.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const slipway = fileURLToPath(new URL('../../dist/slipway.js', import.meta.url));

/** Kills a process at its effect with the number KILL_AT: before a change of a file, or after it started a program. */
const KILLER = `
  import fs from 'node:fs/promises';
  import child from 'node:child_process';
  import { syncBuiltinESMExports } from 'node:module';
  let left = Number(process.env.KILL_AT);
  const killIfDue = () => {
    left -= 1;
    if (left === 0) process.kill(process.pid, 'SIGKILL');
  };
  for (const name of ['rename', 'rm', 'link', 'truncate', 'mkdir', 'chmod', 'writeFile', 'cp']) {
    const change = fs[name];
    fs[name] = async (...call) => {
      killIfDue();
      return change(...call);
    };
  }
  const { spawn } = child;
  child.spawn = (...call) => {
    const started = spawn(...call);
    // Time for the program to start what it starts.
    if (left === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
    killIfDue();
    return started;
  };
  syncBuiltinESMExports();`;

/** Programs that do in a moment what takes minutes: they write the same files, with hardly any content. */
const PROGRAMS: Readonly<Record<string, string>> = {
  mmdebstrap: `
    while [ $# -gt 2 ]; do shift; done
    sleep 0.2
    mkdir "$1.tree" "$1.tree/slipway"
    for file in vmlinuz initrd engine; do echo "$file" >"$1.tree/slipway/$file"; done
    tar -cf "$1" -C "$1.tree" slipway`,
  mke2fs: 'while [ $# -gt 2 ]; do shift; done; echo disk >"$1"',
  fakeroot: 'exec "$@"',
  'qemu-img': `
    verb=$1
    while [ $# -gt 2 ]; do shift; done
    case $verb in
      convert) sleep 0.1; cp "$1" "$2" ;;
      create) : >"$2" ;;
      dd) : >"$\{2#of=}" ;;
      info) echo '{ "virtual-size": 1 }' ;;
    esac`,
  'qemu-system-x86_64': `
    echo 'slipway: alive'
    sleep 0.2
    if [ -e out.raw ]; then
      mkdir exported
      for file in vmlinuz initrd engine root; do echo "/dev/vda1" >"exported/$file"; done
      tar -cf out.raw -C exported vmlinuz initrd engine root
    fi
    echo 'slipway: ready'`,
};

describe.runIf(process.platform === 'linux' && process.arch === 'x64' && hasProgram('apt-get'))(
  'a command that creates an image and is killed at any effect',
  () => {
    let folder: Awaited<ReturnType<typeof createTemporaryFolder>>;
    let disk = '';
    let digest = '';
    beforeAll(async () => {
      folder = await createTemporaryFolder();
      await writeFile(join(folder.path, 'killer.mjs'), KILLER);
      for (const [name, body] of Object.entries(PROGRAMS)) await writeScript(join(folder.path, 'bin', name), body);
      disk = join(folder.path, 'cloud.qcow2');
      await writeFile(disk, 'a disk');
      digest = `sha256:${createHash('sha256').update('a disk').digest('hex')}`;
    });
    afterAll(async () => folder[Symbol.asyncDispose]());

    const run = (home: string, argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<ProgramResult> =>
      runProgram(process.execPath, [slipway, 'image', ...argv], {
        env: {
          HOME: home,
          TMPDIR: join(home, 'tmp'),
          PATH: `${join(folder.path, 'bin')}:${process.env.PATH ?? ''}`,
          ...env,
        },
      });

    /** Kills the command at one of its effects. Returns false if it has fewer. */
    async function killAndHeal(argv: readonly string[], killAt: number): Promise<boolean> {
      const home = join(folder.path, `${argv[0]}-${killAt}`);
      await mkdir(join(home, 'tmp'), { recursive: true });
      const killer = { NODE_OPTIONS: `--import=${join(folder.path, 'killer.mjs')}`, KILL_AT: String(killAt) };
      // A signal is no exit status, so the call rejects.
      const first = await run(home, argv, killer).catch(() => ({ code: 137, stderr: '' }));
      expect([0, 137], first.stderr).toContain(first.code);
      const images = openImageStore(join(home, '.slipway'));
      // What the store has is whole, also before anything heals it.
      for (const item of await images.list()) expect(item).toHaveProperty('image');
      await expect.poll(() => listProcesses(home), { timeout: 30_000 }).toEqual([]);
      expect(await readdir(join(home, 'tmp'))).toEqual([]);

      // Alternately, the same command finishes it, and a cleanup removes what is left.
      const isRemoved = killAt % 4 === 0 && first.code !== 0;
      expect(await run(home, isRemoved ? ['prune', '--all'] : argv)).toMatchObject({ code: 0 });
      const listed = await images.list();
      expect(listed.map(({ key }) => key.arch)).toEqual(isRemoved ? [] : ['amd64']);
      for (const item of listed) expect('image' in item && (await images.isUnchanged(item.image))).toBe(true);
      const entries = (await readdir(join(home, '.slipway', 'images')).catch(() => [])).toSorted();
      const left = entries.filter((name) => name.startsWith('.') && !['.locks', '.downloads'].includes(name));
      expect(left, `killed at effect ${killAt}`).toEqual([]);
      // The lock is free: a removal takes it.
      if (!isRemoved) expect(await run(home, ['prune', '--all'])).toMatchObject({ code: 0 });
      return first.code !== 0;
    }

    // Both verbs share most of their effects, so half of the second's are enough.
    test.each([
      ['build', 1, () => ['build', '--arch', 'amd64']],
      ['pull', 2, () => ['pull', 'mine', '--url', disk, '--digest', digest]],
    ] as const)(
      '%s: the store keeps whole images only, no process and no file is left, and the next command heals the rest',
      async (_verb, step, argv) => {
        let kills = 0;
        let isOver = false;
        const worker = async (): Promise<void> => {
          while (!isOver) {
            kills += 1;
            if (!(await killAndHeal(argv(), kills * step))) isOver = true;
          }
        };
        await Promise.all([worker(), worker(), worker()]);
        expect(kills * step).toBeGreaterThan(15);
      },
      600_000,
    );
  },
);

/** Returns the command lines of processes that run for this user. */
async function listProcesses(home: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const [environment, cwd] = await Promise.all([
      readFile(`/proc/${pid}/environ`, 'utf8').catch(() => ''),
      readlink(`/proc/${pid}/cwd`).catch(() => ''),
    ]);
    if (environment.split('\0').includes(`HOME=${home}`) || cwd.startsWith(`${home}/`))
      found.push((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' '));
  }
  return found;
}

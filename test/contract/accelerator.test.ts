import { readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Computer } from '../../src/computer/computer.ts';
import { chooseAccelerator, hardwareAccelerator, readLastProbe } from '../../src/drivers/qemu/accelerator.ts';
import { writeFileAtomic } from '../../src/computer/files.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { computerWithPrograms, isProcessAlive, writeScript } from '../fakes/executable-scripts.ts';

const GUEST = { arch: 'amd64', kernel: '/images/a, b/vmlinuz', initrd: '/images/initrd' } as const;

/** Creates a computer, by default with macOS: its accelerator needs no device file, which a test computer may lack. */
const computerOn = (folder: string, platform: NodeJS.Platform = 'darwin'): Computer =>
  computerWithPrograms(folder, { platform });

/** Writes a QEMU that records each run and then runs this script. */
async function writeFakeQemu(folder: string, body: string) {
  const runs = join(folder, 'runs');
  const program = await writeScript(join(folder, 'qemu-system-x86_64'), `echo $$ "$@" >> '${runs}'\n${body}`);
  const read = async (): Promise<readonly string[]> =>
    (await readFile(runs, 'utf8').catch(() => '')).split('\n').filter(Boolean);
  return { program, runs: read };
}

const choose = (program: string, computer: Computer, digest = 'digest', signal = new AbortController().signal) =>
  chooseAccelerator(program, GUEST, digest, { computer, signal });

const BOOTING_SCRIPT = 'printf "SeaBIOS\\r\\nslipway: alive\\r\\n"; exec sleep 60';
const REFUSING_SCRIPT = 'echo "qemu-system-x86_64: -accel hvf: invalid accelerator hvf" >&2; exit 1';

afterEach(() => vi.useRealTimers());

describe('chooseAccelerator', () => {
  test.each([
    ['linux', 'kvm'],
    ['darwin', 'hvf'],
    ['win32', 'whpx'],
    ['freebsd', undefined],
  ] as const)('uses on %s the accelerator %s', (platform, accelerator) => {
    expect(hardwareAccelerator(platform)).toBe(accelerator);
  });

  test('chooses an accelerator that ran a guest, and does not probe it again', async () => {
    await using folder = await createTemporaryFolder();
    const computer = computerOn(folder.path);
    const { program, runs } = await writeFakeQemu(folder.path, BOOTING_SCRIPT);
    expect(await readLastProbe(computer)).toBeUndefined();
    for (let time = 0; time < 3; time += 1)
      expect(await choose(program, computer)).toEqual({ accelerator: 'hvf', rejected: [] });
    const [run = '', ...more] = await runs();
    expect(more).toEqual([]);
    expect(run).toContain('-accel hvf');
    expect(run).toContain(`-kernel ${GUEST.kernel} -initrd ${GUEST.initrd}`);
    expect(await readLastProbe(computer)).toEqual({ works: true });
    // The guest is no longer needed.
    while (await isProcessAlive(Number(run.split(' ')[0]))) await turn();
  });

  test('runs QEMU under a guard that kills it when this process is killed', async () => {
    await using folder = await createTemporaryFolder();
    const parentFile = join(folder.path, 'parent');
    const { program } = await writeFakeQemu(
      folder.path,
      `tr '\\0\\n' '  ' </proc/$PPID/cmdline >'${parentFile}'; ${BOOTING_SCRIPT}`,
    );
    await choose(program, computerOn(folder.path));
    expect(await readFile(parentFile, 'utf8')).toMatch(/ slipway-guard maker   \S+qemu-system-x86_64 -machine /);
  });

  test("rejects an accelerator that QEMU refuses, with QEMU's reason", async () => {
    await using folder = await createTemporaryFolder();
    const computer = computerOn(folder.path);
    const { program, runs } = await writeFakeQemu(folder.path, REFUSING_SCRIPT);
    const reason = '-accel hvf: invalid accelerator hvf';
    const choice = { accelerator: 'tcg', rejected: [{ accelerator: 'hvf', reason }] };
    expect(await choose(program, computer)).toEqual(choice);
    expect(await choose(program, computer)).toEqual(choice);
    expect(await runs()).toHaveLength(1);
    expect(await readLastProbe(computer)).toEqual({ works: false, reason });
  });

  test.each([
    ['exits without output', 'exit 0', 'QEMU exited at once'],
    ['is killed', 'kill -9 $$', 'QEMU exited at once'],
    ['prints several lines', 'echo noise; echo "qemu: a, b" >&2; echo more noise; exit 1', 'qemu: a, b'],
  ])('rejects an accelerator whose QEMU %s', async (_what, body, reason) => {
    await using folder = await createTemporaryFolder();
    const { program } = await writeFakeQemu(folder.path, body);
    expect((await choose(program, computerOn(folder.path))).rejected).toEqual([{ accelerator: 'hvf', reason }]);
  });

  test('rejects an accelerator whose guest makes no progress in 10 seconds, and kills its process', async () => {
    await using folder = await createTemporaryFolder();
    const { program, runs } = await writeFakeQemu(folder.path, 'exec sleep 60');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const choice = choose(program, computerOn(folder.path));
    while ((await runs()).length === 0) await turn();
    vi.advanceTimersByTime(9_999);
    let isOver = false;
    void choice.then(() => (isOver = true));
    await turn();
    expect(isOver).toBe(false);
    vi.advanceTimersByTime(1);
    expect(await choice).toEqual({
      accelerator: 'tcg',
      rejected: [{ accelerator: 'hvf', reason: 'a guest made no progress in 10 seconds' }],
    });
    const [run = ''] = await runs();
    while (await isProcessAlive(Number(run.split(' ')[0]))) await turn();
    // Too slow is no answer: the next command tries again. This one does not wait a second time.
    expect(await readLastProbe(computerOn(folder.path))).toBeUndefined();
    expect((await choose(program, computerOn(folder.path))).accelerator).toBe('tcg');
    expect(await runs()).toHaveLength(1);
  });

  test.runIf(process.platform === 'linux')(
    'keeps the result for a day if the guest used its time and made no progress',
    async () => {
      await using folder = await createTemporaryFolder();
      const computer = computerOn(folder.path);
      const { program } = await writeFakeQemu(folder.path, 'while :; do :; done');
      const { rejected } = await choose(program, computer);
      expect(rejected).toEqual([{ accelerator: 'hvf', reason: 'a guest made no progress in 10 seconds' }]);
      expect(await readLastProbe(computer)).toEqual({ works: false, reason: 'a guest made no progress in 10 seconds' });
      expect(await readFile(join(computer.home, 'accelerator.json'), 'utf8')).toContain('"hangs": true');
    },
    30_000,
  );

  test('probes again when QEMU or the kernel has changed', async () => {
    await using folder = await createTemporaryFolder();
    const computer = computerOn(folder.path);
    const { program, runs } = await writeFakeQemu(folder.path, BOOTING_SCRIPT);
    await choose(program, computer);
    await utimes(program, new Date(), new Date('2026-01-01'));
    await choose(program, computer);
    expect(await runs()).toHaveLength(2);
    await choose(program, computer, 'another digest');
    expect(await runs()).toHaveLength(3);
    await choose(program, computer, 'another digest');
    expect(await runs()).toHaveLength(3);
    // The result for the first image was not replaced.
    await choose(program, computer);
    expect(await runs()).toHaveLength(3);
  });

  test('probes again after a failure: in ten minutes, or at the next command if the guest was only too slow', async () => {
    await using folder = await createTemporaryFolder();
    const computer = computerOn(folder.path);
    const { program, runs } = await writeFakeQemu(folder.path, REFUSING_SCRIPT);
    const file = join(computer.home, 'accelerator.json');
    await choose(program, computer);
    const [[key = '', probe] = []] = Object.entries(JSON.parse(await readFile(file, 'utf8')) as Record<string, object>);
    const age = (minutes: number): Promise<void> =>
      writeFileAtomic(
        file,
        JSON.stringify({ [key]: { ...probe, at: new Date(Date.now() - minutes * 60_000).toISOString() } }),
        0o600,
      );
    await age(9);
    await choose(program, computer);
    expect(await runs()).toHaveLength(1);
    await age(11);
    await choose(program, computer);
    expect(await runs()).toHaveLength(2);
    // An older version recorded no time, and believed a failure for ever.
    await writeFileAtomic(file, JSON.stringify({ [key]: { works: false, reason: 'busy' } }), 0o600);
    await choose(program, computer);
    expect(await runs()).toHaveLength(3);
    await writeFileAtomic(file, JSON.stringify({ [key]: { works: true } }), 0o600);
    expect((await choose(program, computer)).accelerator).toBe('hvf');
    expect(await runs()).toHaveLength(3);
  });

  test.each(['{', '', 'null', '7', '[]', '{"key":{"works":true}}'])(
    'probes when the cache file contains %j',
    async (text) => {
      await using folder = await createTemporaryFolder();
      const computer = computerOn(folder.path);
      const { program } = await writeFakeQemu(folder.path, BOOTING_SCRIPT);
      await writeFileAtomic(join(computer.home, 'accelerator.json'), text, 0o600);
      await readLastProbe(computer);
      expect(await choose(program, computer)).toEqual({ accelerator: 'hvf', rejected: [] });
      expect(await readLastProbe(computer)).toEqual({ works: true });
    },
  );

  test('stops at an abort, and caches nothing', async () => {
    await using folder = await createTemporaryFolder();
    const computer = computerOn(folder.path);
    const { program, runs } = await writeFakeQemu(folder.path, 'exec sleep 60');
    const stop = new AbortController();
    const choice = catchRejection(choose(program, computer, 'digest', stop.signal));
    while ((await runs()).length === 0) await turn();
    stop.abort();
    expect((await choice)?.code).toBe('CANCELED');
    expect((await catchRejection(choose(program, computer, 'digest', stop.signal)))?.code).toBe('CANCELED');
    expect(await runs()).toHaveLength(1);
    expect(await readLastProbe(computer)).toBeUndefined();
  });

  test('chooses software emulation on a system without an accelerator', async () => {
    await using folder = await createTemporaryFolder();
    expect(await choose('/no/such/program', computerOn(folder.path, 'freebsd'))).toEqual({
      accelerator: 'tcg',
      rejected: [],
    });
  });

  test("rejects an accelerator whose QEMU can't be run", async () => {
    await using folder = await createTemporaryFolder();
    const program = join(folder.path, 'qemu');
    await writeFile(program, 'no program');
    const { rejected } = await choose(program, computerOn(folder.path));
    expect(rejected[0]?.reason).toMatch(/EACCES|Permission denied/);
  });
});

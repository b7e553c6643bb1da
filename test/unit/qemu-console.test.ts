import { appendFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  readConsoleTail,
  stripTerminalSequences,
  waitForBootResult,
  parseBootResult,
  type BootResult,
} from '../../src/drivers/qemu/console.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const READY_RESULT: BootResult = { ready: true };

describe('parseBootResult', () => {
  test.each<[string, string, BootResult | undefined]>([
    ['ready', 'slipway: ready\n', READY_RESULT],
    ['ready, with the line ends of a serial line', 'a\r\nslipway: ready\r\nb\r\n', READY_RESULT],
    [
      "ready among the kernel's lines",
      '[    1.2] vda: vda1\nslipway: ready\n[    1.3] random: crng init done\n',
      READY_RESULT,
    ],
    ['ready, in colour', '\u001B[0;32mslipway: ready\u001B[0m\n', READY_RESULT],
    ['ready after what a firmware draws', '\u001Bc\u001B[?7l\u001B[2J\u001B[0m\nslipway: ready\n', READY_RESULT],
    ['ready after a title and a character set', '\u001B]0;web\u0007\u001B(Bslipway: ready\n', READY_RESULT],
    [
      'a failure with its reason',
      'slipway: failed: docker.service did not start\r\n',
      { ready: false, reason: 'docker.service did not start' },
    ],
    ['the first of two', 'slipway: failed: no disk\nslipway: ready\n', { ready: false, reason: 'no disk' }],
    ['none in another line', 'echo slipway: ready\n', undefined],
    ['none before another word', 'slipway: ready or not\n', undefined],
    ["none after the kernel's time", '[    1.234567] slipway: ready\n', undefined],
    ['none in other lines of Slipway', 'slipway: alive\nslipway: there is no network card\n', undefined],
    ['none in a failure without a reason', 'slipway: failed: \n', undefined],
    ['none on an empty console', '', undefined],
  ])('returns %s', (_what, console, result) => {
    expect(parseBootResult(console)).toEqual(result);
  });

  test('ignores the cursor movements of firmware and boot loader', () => {
    expect(stripTerminalSequences('\u001B[1;31m[FAILED]\u001B[0m Zoë\u0000\r\n\u001B]2;x\u001B\\ok')).toBe(
      '[FAILED] Zoë\nok',
    );
  });
});

describe('readConsoleTail', () => {
  test('returns the last lines that are not empty', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    expect(await readConsoleTail(file)).toEqual([]);
    await writeFile(file, 'one\r\n\r\ntwo  \r\n\u001B[0m\r\nZoë\r\nhalf');
    expect(await readConsoleTail(file)).toEqual(['one', 'two', 'Zoë', 'half']);
    expect(await readConsoleTail(file, 2)).toEqual(['Zoë', 'half']);
  });
});

/** Starts to wait for the boot result on a console that the test writes. */
function startWait(file: string, checkGuest: () => Promise<void> = async () => {}) {
  const lines: string[] = [];
  const stop = new AbortController();
  let checks = 0;
  const result = waitForBootResult(file, {
    log: (line) => lines.push(line),
    signal: stop.signal,
    requireAlive: async () => {
      checks += 1;
      await checkGuest();
    },
  });
  // Each test awaits it later: until then a rejection must not count as unhandled.
  result.catch(() => {});
  const logged = async (line: string): Promise<void> => {
    while (!lines.includes(line)) await sleep(5);
  };
  return { result, lines, logged, stop: (why: unknown) => stop.abort(why), asked: () => checks };
}

describe('waitForBootResult', () => {
  test('asks seldom whether the guest runs, however much it writes', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    await writeFile(file, '');
    const wait = startWait(file);
    for (let line = 0; line < 100; line += 1) {
      await appendFile(file, `line ${line}\n`);
      await wait.logged(`line ${line}`);
    }
    const begin = performance.now();
    while (performance.now() - begin < 1000) {
      await appendFile(file, 'more\n');
      await sleep(10);
    }
    await appendFile(file, 'slipway: ready\n');
    await wait.result;
    // After 0, 0.25, 0.75 and 1.75 seconds, and every three seconds from 3.75 on: ten times in 25 seconds.
    expect(wait.asked()).toBeLessThan(8);
  });

  test('ends with the result, and logs each line once', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    await writeFile(file, '\u001B[0mLinux\r\n');
    const wait = startWait(file);
    await wait.logged('Linux');
    await appendFile(file, '[  OK  ] Started \u001B[0;1;39mssh\u001B[0m.\r\n\r\nhal');
    await wait.logged('[  OK  ] Started ssh.');
    await appendFile(file, 'f a line\r\nslipway: rea');
    await wait.logged('half a line');
    await appendFile(file, 'dy\r\nmore');
    expect(await wait.result).toEqual(READY_RESULT);
    expect(wait.lines).toEqual(['Linux', '[  OK  ] Started ssh.', 'half a line', 'slipway: ready']);
  });

  test('finds a result that was written before', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    await writeFile(file, 'a\nslipway: ready\nb\n');
    const wait = startWait(file);
    expect(await wait.result).toEqual(READY_RESULT);
    expect(wait.asked()).toBe(0);
  });

  test('keeps letters whole whose bytes arrive apart, in lines and in the reason', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    const bytes = Buffer.from('grüße 機\nslipway: failed: „Größe“ is 機\n');
    await writeFile(file, '');
    const wait = startWait(file);
    for (const byte of bytes) {
      await appendFile(file, Buffer.of(byte));
      // Time to read the file between two bytes.
      await sleep(1);
    }
    expect(await wait.result).toEqual({ ready: false, reason: '„Größe“ is 機' });
    expect(wait.lines).toEqual(['grüße 機', 'slipway: failed: „Größe“ is 機']);
  });

  test('does not take half a line for a result', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    await writeFile(file, 'x\nslipway: failed: the root disk');
    const wait = startWait(file);
    await wait.logged('x');
    await appendFile(file, ' is missing\n');
    expect(await wait.result).toEqual({ ready: false, reason: 'the root disk is missing' });
  });

  test('waits for a file that appears late', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    const wait = startWait(file);
    while (wait.asked() === 0) await sleep(5);
    await writeFile(file, 'slipway: ready\n');
    expect(await wait.result).toEqual(READY_RESULT);
  });

  test('follows a console that begins again', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    await writeFile(file, `${'the start before\n'.repeat(20)}last\n`);
    const wait = startWait(file);
    await wait.logged('last');
    await truncate(file);
    await appendFile(file, 'slipway: ready\n');
    expect(await wait.result).toEqual(READY_RESULT);
    expect(wait.lines.slice(-2)).toEqual(['last', 'slipway: ready']);
  });

  test('ends with the error that says that the guest is gone', async () => {
    await using folder = await createTemporaryFolder();
    const gone = new Error('it ended');
    const { result } = startWait(join(folder.path, 'console.log'), async () => {
      throw gone;
    });
    await expect(result).rejects.toBe(gone);
  });

  test('checks the guest again although nothing is written', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    await writeFile(file, '');
    const gone = new Error('it ended');
    let checks = 0;
    const { result } = startWait(file, async () => {
      checks += 1;
      if (checks === 3) throw gone;
    });
    await expect(result).rejects.toBe(gone);
  });

  test('ends on an abort: while it waits, while it checks the guest, and before it began', async () => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'console.log');
    await writeFile(file, '');
    const why = new Error('Ctrl-C');
    const idle = startWait(file);
    while (idle.asked() === 0) await sleep(5);
    idle.stop(why);
    await expect(idle.result).rejects.toBe(why);

    let release = (): void => {};
    const busy = startWait(
      file,
      () =>
        new Promise((resolve) => {
          release = resolve;
        }),
    );
    while (busy.asked() === 0) await sleep(5);
    busy.stop(why);
    // Time for a rejection that nothing handles to end the process.
    await sleep(20);
    release();
    await expect(busy.result).rejects.toBe(why);

    const signal = AbortSignal.abort(why);
    const requireAlive = async (): Promise<void> => {};
    await expect(waitForBootResult(file, { log: () => {}, signal, requireAlive })).rejects.toBe(why);
  });
});

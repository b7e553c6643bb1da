import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { constants, getPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { readFileIfExists } from '../../src/computer/files.ts';
import { askProgram, childEnvironment, lowerPriority, runChild } from '../../src/computer/child-process.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { bundleModule, startScript } from '../fakes/script-process.ts';
import { computerWithPrograms, isProcessAlive, writeScript } from '../fakes/executable-scripts.ts';

const computer = computerWithPrograms('/nowhere', { platform: process.platform });
/** The one program that every system has here; its script follows. */
const node = process.execPath;
const neverAborted = new AbortController().signal;
const quietCall = { computer, log: () => {}, signal: neverAborted };

describe('the environment of a program', () => {
  test('has the variables that it needs and those of the call, and no secrets', () => {
    const env = {
      PATH: '/bin',
      HOME: '/home/a',
      LANG: 'C',
      LC_ALL: 'C',
      XDG_RUNTIME_DIR: '/run',
      TMPDIR: '/tmp',
      SystemRoot: 'C:',
      SECRET: 'x',
      AWS_SECRET_ACCESS_KEY: 'x',
      SLIPWAY_SUDO_PASSWORD: 'x',
      SSH_AUTH_SOCK: 'x',
      http_proxy: 'http://me:secret@proxy',
      LD_PRELOAD: 'x',
      MY_PATH: 'x',
      PATH_OF_MINE: 'x',
      USER: undefined,
    };
    expect(childEnvironment({ ...computer, env }, { ARCH: 'amd64', LANG: 'C.UTF-8' })).toEqual({
      PATH: '/bin',
      HOME: '/home/a',
      LANG: 'C.UTF-8',
      LC_ALL: 'C',
      XDG_RUNTIME_DIR: '/run',
      TMPDIR: '/tmp',
      SystemRoot: 'C:',
      ARCH: 'amd64',
    });
  });

  test('is passed to the program', async () => {
    const env = { PATH: process.env.PATH, SECRET: 'x' };
    const { lines } = await runChild(
      node,
      ['-e', "for (const name of ['ONE', 'PATH', 'SECRET']) console.log(name, process.env[name])"],
      { ...quietCall, computer: { ...computer, env }, env: { ONE: '1' } },
    );
    expect(lines).toEqual(['ONE 1', `PATH ${env.PATH}`, 'SECRET undefined']);
  });
});

describe('a program of this computer', () => {
  test('returns its exit status, and logs its lines as it writes them', async () => {
    const logged: string[] = [];
    const code =
      "console.log('one'); console.error('two'); console.log(); process.stdout.write('Zo\u00EB  '); process.exitCode = 3";
    const outcome = await runChild(node, ['-e', code], { ...quietCall, log: (line) => logged.push(line) });
    expect(outcome.code).toBe(3);
    expect(outcome.lines.toSorted()).toEqual(['Zoë', 'one', 'two']);
    expect(logged).toEqual(outcome.lines);
  });

  test('that ended by a signal has failed', async () => {
    expect((await runChild(node, ['-e', "process.kill(process.pid, 'SIGKILL')"], quietCall)).code).toBe(1);
  });

  test('logs each line, and returns only the last ones', async () => {
    let count = 0;
    const { lines } = await runChild(node, ['-e', 'for (let n = 1; n <= 1000; n += 1) console.log(n)'], {
      ...quietCall,
      log: () => (count += 1),
    });
    expect(count).toBe(1000);
    expect([lines.length, lines[0], lines.at(-1)]).toEqual([200, '801', '1000']);
  });

  test('has an empty stdin, so it never waits for input', async () => {
    expect(await runChild(node, ['-e', 'process.stdin.pipe(process.stdout)'], quietCall)).toEqual({
      code: 0,
      lines: [],
    });
  });

  test('runs in the given folder', async () => {
    await using folder = await createTemporaryFolder();
    const { lines } = await runChild(node, ['-p', 'process.cwd()'], { ...quietCall, cwd: folder.path });
    expect(lines).toEqual([folder.path]);
  });

  test('that is missing or not executable is an error, not an exit status', async () => {
    await expect(runChild('/no/such/program', [], quietCall)).rejects.toMatchObject({ code: 'ENOENT' });
    if (isPosix) await expect(runChild('/etc/passwd', [], quietCall)).rejects.toMatchObject({ code: 'EACCES' });
  });

  // Windows has no process groups and no SIGTERM.
  test.runIf(isPosix)('is ended by an abort, together with all processes that it started', async () => {
    await using folder = await createTemporaryFolder();
    const file = await writeScript(
      join(folder.path, 'nested'),
      'trap "echo ended > end; exit 1" TERM; sleep 300 & echo $! > pid; sleep 301 & sleep 0.2; echo started; wait',
    );
    const stop = new AbortController();
    const log = (line: string): void => {
      if (line === 'started') stop.abort();
    };
    const error = await catchRejection(
      runChild(file, [], { computer: computerWithPrograms(folder.path), cwd: folder.path, log, signal: stop.signal }),
    );
    expect(error?.code).toBe('CANCELED');
    const pid = Number(await readFile(join(folder.path, 'pid'), 'utf8'));
    while (await isProcessAlive(pid)) await sleep(10);
    // SIGTERM lets it clean up before it ends.
    expect(await readFile(join(folder.path, 'end'), 'utf8')).toBe('ended\n');
  });

  test('is not started after an abort', async () => {
    await using folder = await createTemporaryFolder();
    const work = runChild(node, ['-e', "fs.writeFileSync('made', '')"], {
      ...quietCall,
      cwd: folder.path,
      signal: AbortSignal.abort(),
    });
    expect((await catchRejection(work))?.code).toBe('CANCELED');
    await expect(readFile(join(folder.path, 'made'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('that has ended gets no signal from a later abort', async () => {
    const stop = new AbortController();
    expect((await runChild(node, ['-e', ''], { ...quietCall, signal: stop.signal })).code).toBe(0);
    stop.abort();
  });
});

describe('a question to a program', () => {
  const ask = (file: string, argv: readonly string[], more: { readonly signal?: AbortSignal; seconds?: number } = {}) =>
    askProgram(file, argv, { computer, signal: neverAborted, seconds: 30, ...more });

  test('is answered, or refused with a status', async () => {
    expect(await ask(node, ['-p', '"yes"'])).toEqual({ outcome: 'answered', lines: ['yes'] });
    const refusal = "console.error('no'); process.exitCode = 3";
    expect(await ask(node, ['-e', refusal])).toEqual({ outcome: 'refused', code: 3, lines: ['no'] });
  });

  test.each<readonly [string, string, readonly string[], unknown]>([
    ['is missing', 'no-such-program', [], 'it is not installed'],
    // Windows has neither modes nor signals.
    ...(isPosix
      ? ([
          ['is not executable', '/etc/passwd', [], expect.stringMatching(/permission denied/i)],
          ['is killed', 'sh', ['-c', 'kill -9 $$'], expect.any(String)],
        ] as const)
      : []),
  ])('to one that %s is not asked', async (_what, file, argv, reason) => {
    expect(await ask(file, argv)).toMatchObject({ outcome: 'not-asked', reason });
  });

  test('to one that does not end in time is not asked, and the program is ended', async () => {
    const answer = await ask(node, ['-e', 'console.log(process.pid); setInterval(() => {}, 1000)'], { seconds: 4 });
    expect(answer).toMatchObject({ outcome: 'not-asked', reason: 'it did not answer within 4 s' });
    await expect.poll(() => isProcessAlive(Number(answer.lines[0]))).toBe(false);
  });

  test('is canceled by an abort', async () => {
    const stop = new AbortController();
    const work = ask(node, ['-e', 'setInterval(() => {}, 1000)'], { signal: stop.signal });
    stop.abort();
    expect((await catchRejection(work))?.code).toBe('CANCELED');
  });

  // On Windows, nothing guards a program.
  test.runIf(isPosix)('ends its program even if the process that asked is killed', async () => {
    await using folder = await createTemporaryFolder();
    const module = await bundleModule('computer/child-process.ts', folder.path);
    const asker = await startScript(
      `import { askProgram } from ${JSON.stringify(module)};
       const computer = { platform: process.platform, env: process.env };
       await askProgram('sh', ['-c', 'echo $$ > ${folder.path}/pid; exec sleep 300'], {
         computer, signal: new AbortController().signal, seconds: 300,
       });`,
      folder.path,
    );
    const readPid = async (): Promise<number> => Number(await readFileIfExists(join(folder.path, 'pid')));
    await expect.poll(readPid, { timeout: 20_000 }).toBeGreaterThan(0);
    const pid = await readPid();
    expect(await isProcessAlive(pid)).toBe(true);
    asker.process.kill('SIGKILL');
    await asker.ended;
    await expect.poll(() => isProcessAlive(pid), { timeout: 10_000 }).toBe(false);
  });
});

test.runIf(process.platform === 'linux')(
  'lowerPriority gives a process and its session the lowest priority',
  async () => {
    const child = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
    try {
      const { pid = 0 } = child;
      await lowerPriority(pid);
      expect(getPriority(pid)).toBe(constants.priority.PRIORITY_LOW);
      const group = await readFileIfExists(`/proc/${pid}/autogroup`);
      if (group !== undefined) expect(group.trim()).toMatch(/nice 19$/);
    } finally {
      child.kill('SIGKILL');
    }
    await expect(lowerPriority(2 ** 22 + 1)).resolves.toBeUndefined();
  },
);

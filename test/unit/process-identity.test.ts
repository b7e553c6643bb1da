import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  identifyProcess,
  isProcessAlive,
  isProcessRunningCommand,
  type ProcessIdentity,
} from '../../src/computer/process-identity.ts';
import { bundleModule, startScript } from '../fakes/script-process.ts';
import { computerWithPrograms, writeScript } from '../fakes/executable-scripts.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const isLinux = process.platform === 'linux';
const call = { computer: computerWithPrograms('/nowhere'), signal: new AbortController().signal };

/** Starts a process that runs until the end of the test. Its command line ends with these words. */
function startProcess(...words: readonly string[]): ChildProcess & { readonly pid: number } & Disposable {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', '--', ...words], { stdio: 'ignore' });
  return Object.assign(child as ChildProcess & { readonly pid: number }, {
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  });
}

async function startAndEndProcess(): Promise<ProcessIdentity> {
  const child = startProcess();
  const identity = await identifyProcess(child.pid);
  child.kill('SIGKILL');
  await once(child, 'close');
  return identity;
}

/** Starts a process whose parent never waits for it, so that it stays a zombie after its end. */
async function startFutureZombie(): Promise<Disposable & { readonly pid: number; waitForZombie(): Promise<void> }> {
  const parent = spawn('sh', ['-c', 'sleep 0.5 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [output] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(output.toString());
  return {
    pid,
    async waitForZombie() {
      while (!/^\d+ \(.*\) Z /.test(await readFile(`/proc/${pid}/stat`, 'utf8'))) await sleep(10);
    },
    [Symbol.dispose]: () => void parent.kill('SIGKILL'),
  };
}

describe('isProcessAlive', () => {
  test('is true while the process runs, and false after its end', async () => {
    expect(await isProcessAlive(await identifyProcess(process.pid))).toBe(true);
    using child = startProcess();
    const identity = await identifyProcess(child.pid);
    expect(await isProcessAlive(identity)).toBe(true);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(await isProcessAlive(identity)).toBe(false);
  });

  test('is false for a PID that does not exist', async () => {
    const { pid } = await startAndEndProcess();
    expect(await identifyProcess(pid)).toEqual({ pid, started: '' });
    expect(await isProcessAlive({ pid, started: '' })).toBe(false);
    expect(await isProcessAlive({ pid: 2 ** 22 + 1, started: '' })).toBe(false);
  });

  test.runIf(isLinux)('is false for a later process with the same PID, and after a reboot', async () => {
    const { started } = await identifyProcess(process.pid);
    const [boot = '', ticks = ''] = started.split('/');
    expect(started).toMatch(/^[0-9a-f-]{36}\/\d+$/);
    expect(await isProcessAlive({ pid: process.pid, started: `${boot}/${Number(ticks) - 1}` })).toBe(false);
    expect(await isProcessAlive({ pid: process.pid, started: `00000000-0000-0000-0000-000000000000/${ticks}` })).toBe(
      false,
    );
    // Two processes that run at the same time differ as well.
    using child = startProcess();
    expect(await isProcessAlive({ pid: child.pid, started })).toBe(false);
  });

  test('trusts the PID alone where the start of a process is unknown', async () => {
    expect(await isProcessAlive({ pid: process.pid, started: '' })).toBe(true);
  });

  test.runIf(isLinux)('is false for a zombie, though its PID is in use until its parent waits for it', async () => {
    using zombie = await startFutureZombie();
    const identity = await identifyProcess(zombie.pid);
    expect(await isProcessAlive(identity)).toBe(true);
    await zombie.waitForZombie();
    expect(() => process.kill(zombie.pid, 0)).not.toThrow();
    expect(await isProcessAlive(identity)).toBe(false);
    expect(await isProcessAlive({ pid: zombie.pid, started: '' })).toBe(false);
  });

  test.runIf(isLinux)('is true for a process of another user, to which no signal can be sent', async () => {
    await using scripts = await createTemporaryFolder();
    const module = await bundleModule('computer/process-identity.ts', scripts.path);
    // The first process belongs to root.
    const script = `
      import { identifyProcess, isProcessAlive } from ${JSON.stringify(module)};
      if (process.getuid() === 0) process.setuid(65534);
      let code;
      try {
        process.kill(1, 0);
      } catch (error) {
        code = error.code;
      }
      const identity = await identifyProcess(1);
      console.log(JSON.stringify([code, await isProcessAlive(identity), await isProcessAlive({ pid: 1, started: 'x' })]));`;
    const child = await startScript(script, scripts.path);
    expect(JSON.parse((await child.readLine()) ?? '')).toEqual(['EPERM', true, false]);
  });

  test.runIf(isLinux)('reads the start of a process whose name contains blanks and parentheses', async () => {
    await using scripts = await createTemporaryFolder();
    const child = await startScript(
      `process.title = 'a) (b 1 2'; console.log('started'); setInterval(() => {}, 1000);`,
      scripts.path,
    );
    await child.readLine();
    const identity = await identifyProcess(child.process.pid ?? 0);
    expect(await readFile(`/proc/${child.process.pid}/stat`, 'utf8')).toContain('(a) (b 1 2)');
    expect(identity.started).toMatch(/^[0-9a-f-]{36}\/\d{2,}$/);
    expect(await isProcessAlive(identity)).toBe(true);
    child.process.kill('SIGKILL');
    await child.ended;
  });
});

describe('isProcessRunningCommand', () => {
  test.runIf(isPosix)('is true only if the words are in the command line, complete and in this order', async () => {
    using child = startProcess('-uuid', 'id-1', '-name', 'slipway-web');
    const isRunning = (...words: readonly string[]): Promise<boolean> =>
      isProcessRunningCommand(child.pid, words, call);
    await expect.poll(() => isRunning('-uuid', 'id-1')).toBe(true);
    expect(await isRunning('-name', 'slipway-web')).toBe(true);
    expect(await isRunning('-uuid', 'id-')).toBe(false);
    expect(await isRunning('uuid', 'id-1')).toBe(false);
    expect(await isRunning('id-1', '-uuid')).toBe(false);
    expect(await isRunning('-uuid', 'slipway-web')).toBe(false);
  });

  test('is false for a PID that does not exist', async () => {
    const { pid } = await startAndEndProcess();
    expect(await isProcessRunningCommand(pid, ['--'], call)).toBe(false);
  });

  /** Returns a Windows computer whose PowerShell is this shell script. */
  async function createWindowsCall(folder: string, powershell: string): Promise<typeof call> {
    const SystemRoot = join(folder, 'Windows');
    const computer = computerWithPrograms(folder, { platform: 'win32', env: { PATH: process.env.PATH, SystemRoot } });
    await writeScript(String.raw`${SystemRoot}\System32\WindowsPowerShell\v1.0\powershell.exe`, powershell);
    return { ...call, computer };
  }

  test.runIf(isPosix)('believes what PowerShell says on Windows', async () => {
    await using folder = await createTemporaryFolder();
    const runs = await createWindowsCall(folder.path, `echo 'command="C:\\qemu.exe" -uuid id-1 -m 2'`);
    expect(await isProcessRunningCommand(process.pid, ['-uuid', 'id-1'], runs)).toBe(true);
    expect(await isProcessRunningCommand(process.pid, ['-uuid', 'id-2'], runs)).toBe(false);
    const ended = await createWindowsCall(folder.path, 'echo none');
    expect(await isProcessRunningCommand(process.pid, ['-uuid', 'id-1'], ended)).toBe(false);
  });

  test.runIf(isPosix)(
    'throws where a process has the number and PowerShell shows nothing of it, fails or is missing',
    async () => {
      await using folder = await createTemporaryFolder();
      for (const answer of ['', 'exit 1', 'echo command=', 'echo "Access is denied" >&2; exit 1']) {
        const silent = await createWindowsCall(folder.path, answer);
        await expect(isProcessRunningCommand(process.pid, ['--'], silent)).rejects.toMatchObject({
          code: 'DRIVER_FAILED',
          message: `Windows does not say which program process ${process.pid} is`,
        });
      }
      const missing = { ...call, computer: { ...call.computer, platform: 'win32' as const, env: {} } };
      await expect(isProcessRunningCommand(process.pid, ['--'], missing)).rejects.toThrow(/does not say/);
      // Without a process of this number, nobody has to be asked.
      const { pid } = await startAndEndProcess();
      expect(await isProcessRunningCommand(pid, ['--'], missing)).toBe(false);
    },
  );

  test.skipIf(process.platform === 'win32')('asks ps on macOS, and throws where ps does not answer', async () => {
    await using folder = await createTemporaryFolder();
    const isRunning = async (ps: string): Promise<boolean> => {
      await writeScript(join(folder.path, 'bin', 'ps'), ps);
      const computer = computerWithPrograms(folder.path, { platform: 'darwin' });
      return isProcessRunningCommand(process.pid, ['-uuid', 'id-1'], { ...call, computer });
    };
    expect(await isRunning('echo qemu -uuid id-1 -m 2')).toBe(true);
    expect(await isRunning('echo qemu -uuid id-2 -m 2')).toBe(false);
    expect(await isRunning('exit 1')).toBe(false);
    await expect(isRunning('kill -9 $$')).rejects.toMatchObject({
      code: 'DRIVER_FAILED',
      message: `This computer does not say which program process ${process.pid} is`,
    });
  });

  test.runIf(isLinux)('is false for a zombie', async () => {
    using zombie = await startFutureZombie();
    expect(await isProcessRunningCommand(zombie.pid, ['0.5'], call)).toBe(true);
    await zombie.waitForZombie();
    expect(await isProcessRunningCommand(zombie.pid, ['0.5'], call)).toBe(false);
  });
});

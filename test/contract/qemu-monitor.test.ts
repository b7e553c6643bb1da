import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { DriverCall } from '../../src/drivers/contract.ts';
import { openMonitor } from '../../src/drivers/qemu/monitor.ts';
import { findFreePorts } from '../../src/drivers/qemu/ports.ts';
import {
  requireShortSocketPath,
  killProcess,
  openVmMonitor,
  resolveMonitorAddress,
  getRunState,
  startProcess,
} from '../../src/drivers/qemu/qemu-process.ts';
import { catchError } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { hasProgram } from '../fakes/run-program.ts';
import { startFakeMonitor, startQemu } from '../fakes/real-qemu.ts';
import { computerWithPrograms, isProcessAlive } from '../fakes/executable-scripts.ts';
import { vmWithId } from '../fakes/sample-vm.ts';

const ID = '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77';
const OTHER_ID = 'ffffffff-ffff-4fff-bfff-ffffffffffff';
const VM = vmWithId(ID);
const GREETING = `${JSON.stringify({ QMP: { version: {}, capabilities: [] } })}\n`;
const EVENT = `${JSON.stringify({ event: 'RESUME', timestamp: {} })}\n`;
const EMPTY_RETURN = `${JSON.stringify({ return: {} })}\n`;

const fakeCall = (): DriverCall & { readonly lines: readonly string[] } => {
  const lines: string[] = [];
  return {
    computer: computerWithPrograms('/nowhere'),
    log: (line) => lines.push(line),
    note: () => {},
    signal: new AbortController().signal,
    lines,
  };
};

describe('openMonitor', () => {
  test('answers commands in order, even with events in between', async () => {
    await using server = await startFakeMonitor(EVENT + GREETING, (command) =>
      command === 'qmp_capabilities'
        ? EVENT + EMPTY_RETURN
        : `${EVENT}${JSON.stringify({ return: command })}\n${EVENT}`,
    );
    await using monitor = await openMonitor(server.connectOptions);
    expect(await Promise.all([monitor?.execute('one'), monitor?.execute('two')])).toEqual(['one', 'two']);
    expect(server.receivedCommands).toEqual(['qmp_capabilities', 'one', 'two']);
  });

  test("rejects with QEMU's own error, and answers the next command", async () => {
    await using server = await startFakeMonitor(GREETING, (command) =>
      command === 'bad'
        ? `${JSON.stringify({ error: { class: 'GenericError', desc: 'no such thing' } })}\n`
        : EMPTY_RETURN,
    );
    await using monitor = await openMonitor(server.connectOptions);
    await expect(monitor?.execute('bad')).rejects.toThrow('no such thing');
    expect(await monitor?.execute('good')).toEqual({});
  });

  test.concurrent.each([
    ['does not greet', '', () => EMPTY_RETURN],
    ['greets and then stays silent', GREETING, () => ''],
  ])('rejects after five seconds when a program %s', async (_what, greeting, respond) => {
    await using server = await startFakeMonitor(greeting, respond);
    const begin = performance.now();
    await expect(openMonitor(server.connectOptions)).rejects.toThrow('QEMU has not answered for 5 seconds');
    expect(performance.now() - begin).toBeGreaterThan(4900);
  });

  test.each([
    ['closes the connection', (): string | undefined => undefined, /QEMU exited/],
    ['speaks another protocol', () => 'HTTP/1.1 400 Bad Request\r\n\r\n', /is not QEMU/],
    ['answers with null', () => 'null\n', /is not QEMU/],
  ])('rejects when a program %s', async (_what, respond, message) => {
    await using server = await startFakeMonitor(GREETING, respond);
    await expect(openMonitor(server.connectOptions)).rejects.toThrow(message);
  });

  test('rejects a command when the connection closes before the answer', async () => {
    await using server = await startFakeMonitor(GREETING, (command, socket) => {
      if (command === 'qmp_capabilities') return EMPTY_RETURN;
      socket.resetAndDestroy();
      return '';
    });
    await using monitor = await openMonitor(server.connectOptions);
    await expect(monitor?.execute('query-status')).rejects.toThrow('QEMU exited');
    expect(await monitor?.waitForExit(5)).toBe(true);
  });

  test('reports that a running QEMU has not exited', async () => {
    await using server = await startFakeMonitor(GREETING, () => EMPTY_RETURN);
    await using monitor = await openMonitor(server.connectOptions);
    expect(await monitor?.waitForExit(0.05)).toBe(false);
  });

  test('returns undefined when nothing listens', async () => {
    await using folder = await createTemporaryFolder();
    expect(await openMonitor(await resolveMonitorAddress(folder.path, {}))).toBeUndefined();
    await writeFile(join(folder.path, 'monitor.sock'), '');
    expect(await openMonitor(await resolveMonitorAddress(folder.path, {}))).toBeUndefined();
    const server = await startFakeMonitor(GREETING, () => EMPTY_RETURN);
    const { connectOptions } = server;
    await server[Symbol.asyncDispose]();
    expect(await openMonitor(connectOptions)).toBeUndefined();
  });

  test('connects to a socket in the folder, or to a port with a key on systems without such sockets', async () => {
    await using folder = await createTemporaryFolder();
    const socket = join(folder.path, 'monitor.sock');
    expect(await resolveMonitorAddress(folder.path, {})).toEqual({ path: socket });
    const onPort = { monitorPort: 25_001 };
    // No key exists yet, and a monitor must never be asked without one.
    const address = { host: '127.0.0.1', port: 25_001, key: expect.stringMatching(/^[0-9a-f]{64}$/) as string };
    expect(await resolveMonitorAddress(folder.path, onPort)).toEqual(address);
    await writeFile(join(folder.path, 'keys.psk'), 'slipway:0a1b\n');
    expect(await resolveMonitorAddress(folder.path, onPort)).toEqual({ ...address, key: '0a1b' });
  });

  test('requires a folder whose path fits into a socket address', () => {
    const folder = (bytes: number): string => `/${'x'.repeat(bytes - '/'.length - '/monitor.sock'.length)}`;
    expect(catchError(() => requireShortSocketPath(folder(103)))).toBeUndefined();
    expect(catchError(() => requireShortSocketPath(folder(104)))).toMatchObject({
      code: 'USAGE',
      hint: 'Set SLIPWAY_HOME to a shorter path',
    });
    // The limit counts bytes, and each of these letters has two.
    expect(catchError(() => requireShortSocketPath(`/${'é'.repeat(50)}`))?.code).toBe('USAGE');
  });
});

const hasQemu = hasProgram('qemu-system-x86_64');
if (!hasQemu) {
  test.runIf(process.env.SLIPWAY_REQUIRE_E2E)(
    'qemu-system-x86_64 is installed, as SLIPWAY_REQUIRE_E2E requires',
    () => {
      expect.fail('install qemu-system-x86: SLIPWAY_REQUIRE_E2E is set, so that no test is skipped');
    },
  );
  test.skip('processes of QEMU: qemu-system-x86_64 is not installed', () => {});
}

describe.runIf(hasQemu)('a QEMU process', () => {
  test('answers one client after another, and reports when QEMU exits', async () => {
    await using folder = await createTemporaryFolder();
    await using qemu = await startQemu(folder.path, ID);
    for (let client = 0; client < 3; client += 1) {
      await using monitor = await openMonitor({ path: join(folder.path, 'monitor.sock') });
      expect(await monitor?.execute('query-uuid')).toEqual({ UUID: ID });
    }
    await using monitor = await openMonitor({ path: join(folder.path, 'monitor.sock') });
    await expect(monitor?.execute('no-such-command')).rejects.toThrow(/no-such-command has not been found/);
    await monitor?.execute('quit');
    expect(await monitor?.waitForExit(10)).toBe(true);
    await qemu.ended;
    expect(await openMonitor({ path: join(folder.path, 'monitor.sock') })).toBeUndefined();
  });

  test('on a port answers only clients that know the key of its folder', async () => {
    await using folder = await createTemporaryFolder();
    const [monitorPort = 0] = await findFreePorts(ID, 1, [], computerWithPrograms(folder.path));
    const vm = vmWithId(ID, { monitorPort });
    const argv = ['-machine', 'none', '-nodefaults', '-display', 'none', '-uuid', ID, '-pidfile', 'qemu.pid'];
    const start = { boots: true, toArguments: (monitor: readonly string[]) => [...argv, ...monitor] };
    await writeFile(join(folder.path, 'vm.json'), '{}');
    const failure = await startProcess('qemu-system-x86_64', start, vm, folder.path, fakeCall());
    expect(failure?.lines).toBeUndefined();
    try {
      expect((await stat(join(folder.path, 'keys.psk'))).mode & 0o777).toBe(0o600);
      // What a guest, or another user of this computer, can try.
      const stranger = connect({ host: '127.0.0.1', port: monitorPort });
      let received = '';
      stranger.on('error', () => {}).on('data', (bytes) => (received += bytes.toString('latin1')));
      stranger.write('{"execute":"qmp_capabilities"}\n');
      await new Promise((resolve) => stranger.once('close', resolve));
      expect(received).not.toContain('QMP');
      const address = { host: '127.0.0.1', port: monitorPort };
      await expect(openMonitor({ ...address, key: 'ab'.repeat(32) })).rejects.toThrow();
      expect(await getRunState(folder.path, vm, fakeCall())).toBe('running');
    } finally {
      await killProcess(folder.path, vm, fakeCall());
    }
    expect(await getRunState(folder.path, vm, fakeCall())).toBe('none');
  });

  test('makes a second client wait for the first', async () => {
    await using folder = await createTemporaryFolder();
    await using _qemu = await startQemu(folder.path, ID);
    const first = await openMonitor({ path: join(folder.path, 'monitor.sock') });
    const second = openMonitor({ path: join(folder.path, 'monitor.sock') });
    await sleep(100);
    await first?.[Symbol.asyncDispose]();
    await using monitor = await second;
    expect(await monitor?.execute('query-uuid')).toEqual({ UUID: ID });
  });

  test('belongs to a VM only with the ID of that VM', async () => {
    await using folder = await createTemporaryFolder();
    await using qemu = await startQemu(folder.path, ID);
    const stranger = vmWithId(OTHER_ID);
    expect(await openVmMonitor(folder.path, stranger)).toBeUndefined();
    expect(await getRunState(folder.path, stranger, fakeCall())).toBe('none');
    await killProcess(folder.path, stranger, fakeCall());
    expect(qemu.process.exitCode).toBeNull();
    await using monitor = await openVmMonitor(folder.path, VM);
    expect(monitor).toBeDefined();
  });

  test('is running, then paused, and none after it was killed', async () => {
    await using folder = await createTemporaryFolder();
    expect(await getRunState(folder.path, VM, fakeCall())).toBe('none');
    await using qemu = await startQemu(folder.path, ID);
    expect(await getRunState(folder.path, VM, fakeCall())).toBe('running');
    {
      await using monitor = await openVmMonitor(folder.path, VM);
      await monitor?.execute('stop');
    }
    expect(await getRunState(folder.path, VM, fakeCall())).toBe('paused');
    qemu.process.kill('SIGKILL');
    await qemu.ended;
    // Its socket and its pid file still exist.
    expect(await readFile(join(folder.path, 'qemu.pid'), 'utf8')).toBe(`${qemu.process.pid}\n`);
    expect(await getRunState(folder.path, VM, fakeCall())).toBe('none');
    await killProcess(folder.path, VM, fakeCall());
  });

  test('is paused when it waits to be resumed', async () => {
    await using folder = await createTemporaryFolder();
    await using _qemu = await startQemu(folder.path, ID, '-S');
    expect(await getRunState(folder.path, VM, fakeCall())).toBe('paused');
  });

  test('is gone when killProcess returns', async () => {
    await using folder = await createTemporaryFolder();
    await using qemu = await startQemu(folder.path, ID);
    await killProcess(folder.path, VM, fakeCall());
    expect(await isProcessAlive(qemu.process.pid ?? 0)).toBe(false);
    await qemu.ended;
    // QEMU exited through the monitor, so it could flush its data.
    expect([qemu.process.exitCode, qemu.process.signalCode]).toEqual([0, null]);
  });

  test('is silent when it stops answering, and is still killed', async () => {
    await using folder = await createTemporaryFolder();
    await using qemu = await startQemu(folder.path, ID);
    qemu.process.kill('SIGSTOP');
    const call = fakeCall();
    expect(await getRunState(folder.path, VM, call)).toBe('silent');
    expect(call.lines.join('\n')).toContain('QEMU has not answered for 5 seconds');
    expect(await getRunState(folder.path, VM, fakeCall())).toBe('silent');
    await killProcess(folder.path, VM, fakeCall());
    await qemu.ended;
    expect(qemu.process.signalCode).toBe('SIGKILL');
  });

  test('is silent when its socket was removed, and is found by its pid', async () => {
    await using folder = await createTemporaryFolder();
    await using qemu = await startQemu(folder.path, ID);
    await rm(join(folder.path, 'monitor.sock'));
    expect(await getRunState(folder.path, VM, fakeCall())).toBe('silent');
    await killProcess(folder.path, VM, fakeCall());
    await qemu.ended;
    expect(qemu.process.signalCode).toBe('SIGKILL');
  });
});

describe('a process of another program', () => {
  test.each([
    ['is not QEMU', ['60']],
    // For example, a program that shows the log of this VM.
    ['has the id of the VM in its arguments', ['60', `/vms/${ID}/qemu.log`]],
    ['is a VM with another id', ['60', '-uuid', OTHER_ID, 'qemu']],
  ])('that %s is not killed, even when the pid file contains its number', async (_what, argv) => {
    await using folder = await createTemporaryFolder();
    const other = spawn('sh', ['-c', 'sleep "$1"', 'sh', ...argv], { stdio: 'ignore' });
    const ended = once(other, 'exit');
    try {
      await writeFile(join(folder.path, 'qemu.pid'), `${other.pid}\n`);
      expect(await getRunState(folder.path, VM, fakeCall())).toBe('none');
      await killProcess(folder.path, VM, fakeCall());
      expect(await isProcessAlive(other.pid ?? 0)).toBe(true);
      expect([other.exitCode, other.signalCode]).toEqual([null, null]);
    } finally {
      other.kill('SIGKILL');
      await ended;
    }
  });

  test.each(['', 'x', '0', '1', '-1', '99999999', '12 34'])(
    'is not searched for when the pid file contains %j',
    async (text) => {
      await using folder = await createTemporaryFolder();
      await writeFile(join(folder.path, 'qemu.pid'), text);
      expect(await getRunState(folder.path, VM, fakeCall())).toBe('none');
      await killProcess(folder.path, VM, fakeCall());
    },
  );

  test('is not treated as this VM when it answers on its monitor', async () => {
    await using folder = await createTemporaryFolder();
    const server = createServer((socket) => socket.end('220 mail.example ESMTP\r\n'));
    await once(server.listen(join(folder.path, 'monitor.sock')), 'listening');
    try {
      expect(await getRunState(folder.path, VM, fakeCall())).toBe('none');
      await killProcess(folder.path, VM, fakeCall());
    } finally {
      server.close();
    }
  });
});

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type NetConnectOpts, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export type RealQemu = AsyncDisposable & { readonly process: ChildProcess; readonly ended: Promise<unknown> };

/** Starts QEMU with an empty machine: no guest, only a monitor and a pid file in this folder. */
export async function startQemu(folder: string, id: string, ...more: readonly string[]): Promise<RealQemu> {
  const argv = ['-machine', 'none', '-nodefaults', '-display', 'none', '-name', 'slipway-test', '-uuid', id];
  const monitor = ['-qmp', 'unix:monitor.sock,server=on,wait=off', '-pidfile', 'qemu.pid'];
  const child = spawn('qemu-system-x86_64', [...argv, ...monitor, ...more], { cwd: folder, stdio: 'inherit' });
  const ended = once(child, 'exit');
  // QEMU creates the pid file first and the socket last.
  while (!(await isListening(join(folder, 'monitor.sock')))) {
    if (child.exitCode !== null) throw new Error(`QEMU exited with status ${child.exitCode}`);
    await sleep(10);
  }
  return {
    process: child,
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

export type FakeMonitor = AsyncDisposable & {
  readonly connectOptions: NetConnectOpts;
  readonly receivedCommands: readonly string[];
};

/** A server in place of QEMU's monitor. `answers` returns the reply to each line; undefined closes the connection. */
export async function startFakeMonitor(
  greeting: string,
  answers: (command: string, socket: Socket) => string | undefined,
): Promise<FakeMonitor> {
  const receivedCommands: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.write(greeting);
    socket.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split('\n').filter(Boolean)) {
        const { execute } = JSON.parse(line) as { readonly execute: string };
        receivedCommands.push(execute);
        const answer = answers(execute, socket);
        if (answer === undefined) socket.destroy();
        else socket.write(answer);
      }
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    connectOptions: { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    receivedCommands,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createSocket, type RemoteInfo, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { PortCall } from '../../src/computer/port-user.ts';
import { createLinkConnection, type LinkConnection } from '../../src/link/link-connection.ts';
import { openUdpForward } from '../../src/link/udp-forward.ts';
import { createUdpRelay } from '../../src/link/udp-relay.ts';
import { createSshForwarder } from '../../src/link/ssh-forwarder.ts';
import type { Forward, Forwarder } from '../../src/machine/forward.ts';
import { connectSsh, type SshSession } from '../../src/ssh/connection.ts';
import { openOpenSshSession } from '../../src/ssh/openssh-session.ts';
import { computerWithPrograms } from '../fakes/executable-scripts.ts';
import { findFreePort } from '../fakes/free-port.ts';
import { generateKeyFile, type RealSshd, SSHD, startRealSshd } from '../fakes/real-sshd.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

let cleanups: (() => Promise<void>)[];
let folder: string;
let sshd: RealSshd;
let sessions: SshSession[];
let connection: LinkConnection;
let forwarder: Forwarder;

beforeEach(async () => {
  cleanups = [];
  ({ path: folder } = disposeAtEnd(await createTemporaryFolder()));
  await generateKeyFile(join(folder, 'key'));
  sshd = await startRealSshd(folder, { authorized: await readFile(join(folder, 'key.pub'), 'utf8') });
  const server = sshd;
  cleanups.push(() => server.kill());
  sessions = [];
  connection = disposeAtEnd(createLinkConnection({ open: openSession }));
  forwarder = disposeAtEnd(createSshForwarder({ session: connection.session, ...call() }));
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

function disposeAtEnd<T extends AsyncDisposable>(resource: T): T {
  cleanups.push(async () => await resource[Symbol.asyncDispose]());
  return resource;
}

async function openSession(signal: AbortSignal): Promise<SshSession> {
  const { port, user, hostKey } = sshd;
  const options = { ...clientOptions(), signal };
  const target = { address: '127.0.0.1', port, user, hostKey, keyFile: join(folder, 'key') };
  const session = await connectSsh(target, options, () => {});
  sessions.push(session);
  return session;
}

function call(platform: NodeJS.Platform = process.platform): PortCall {
  const templates = fileURLToPath(new URL('../../templates', import.meta.url));
  return {
    computer: { ...computerWithPrograms('/nowhere', { templates }), platform },
    signal: new AbortController().signal,
  };
}

function clientOptions() {
  return {
    userHome: folder,
    platform: process.platform,
    env: process.env,
    agentSocket: undefined,
    allowOpenSsh: false,
    signal: new AbortController().signal,
    debug: () => {},
  };
}

/** Starts a server of the "machine", which is this computer here. */
async function startServer(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).once('close', () => sockets.delete(socket));
    onConnection(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** Reads to the end. Unlike Node's own consumers, it leaves the other side of the stream open. */
async function readText(stream: Readable): Promise<string> {
  let all = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => (all += chunk));
  await once(stream, 'end');
  return all;
}

const echo = (socket: Socket): void => void socket.pipe(socket);

async function forwardTo(port: number, more: Partial<Forward> = {}): Promise<Forward> {
  const forward: Forward = {
    protocol: 'tcp',
    listen: { address: '127.0.0.1', port: await findFreePort() },
    target: { address: '127.0.0.1', port },
    ...more,
  };
  expect(await forwarder.add(forward)).toBeUndefined();
  return forward;
}

async function connectTo({ listen: { address, port } }: Forward): Promise<Socket> {
  const socket = connect({ host: address, port, allowHalfOpen: true, noDelay: true });
  await once(socket, 'connect');
  return socket;
}

/** On a busy computer, the reset may arrive before the connection counts as open. */
async function expectReset({ listen: { address, port } }: Forward): Promise<void> {
  expect(await once(connect(port, address), 'error')).toMatchObject([{ code: 'ECONNRESET' }]);
}

/** Sends a text, ends the sending side, and returns the answer. */
async function ask(forward: Forward, question: string): Promise<string> {
  const socket = await connectTo(forward);
  socket.end(question);
  return await readText(socket);
}

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

describe.skipIf(!existsSync(SSHD))('ports of this computer, forwarded over SSH', () => {
  test('carry bytes both ways, and a client that has sent all still gets the answer', async () => {
    // Answers only once the question has ended.
    const port = await startServer((socket) => void readText(socket).then((question) => socket.end(`re: ${question}`)));
    const forward = await forwardTo(port);
    expect(await ask(forward, 'x'.repeat(300_000))).toBe(`re: ${'x'.repeat(300_000)}`);
    expect(await forwarder.list()).toEqual([forward]);
  });

  test('let a server end its side first, and go on reading', async () => {
    let received: Promise<string> | undefined;
    const port = await startServer((socket) => {
      socket.end('bye');
      received = readText(socket);
    });
    const socket = await connectTo(await forwardTo(port));
    expect(await readText(socket)).toBe('bye');
    socket.end('still here');
    expect(await received).toBe('still here');
  });

  test('deliver all of a long answer to a slow client, and hold back a fast server', async () => {
    const size = 64 * 1024 * 1024;
    let sent = 0;
    const port = await startServer((socket) => {
      const chunk = Buffer.alloc(65_536);
      const send = (): void => {
        while (sent < size) {
          sent += chunk.length;
          if (!socket.write(chunk)) return void socket.once('drain', send);
        }
        socket.end();
      };
      send();
    });
    const socket = await connectTo(await forwardTo(port));
    // The kernel's and SSH's buffers are all that fills up meanwhile.
    await vi.waitFor(() => expect(sent).toBeGreaterThan(0));
    await sleep(500);
    expect(sent).toBeLessThan(size / 2);
    let received = 0;
    for await (const chunk of socket as AsyncIterable<Buffer>) received += chunk.length;
    expect(received).toBe(size);
  });

  test('pass on a reset of the client, and the end of a closed port as a reset', async () => {
    let ended: Promise<unknown> | undefined;
    const port = await startServer((socket) => {
      ended = once(socket, 'end');
      socket.resume().write('hello');
    });
    const socket = await connectTo(await forwardTo(port));
    await once(socket, 'data');
    socket.resetAndDestroy();
    await ended;
    await expectReset(await forwardTo(await findFreePort()));
  });

  test('close together with their connections, and can be opened again at once', async () => {
    const forward = await forwardTo(await startServer(echo));
    const socket = await connectTo(forward);
    socket.write('ping');
    await once(socket, 'data');
    const failed = once(socket, 'error');
    await forwarder.remove(forward);
    await forwarder.remove(forward);
    expect(await failed).toMatchObject([{ code: 'ECONNRESET' }]);
    expect(await forwarder.list()).toEqual([]);
    expect(await Promise.all([forwarder.add(forward), forwarder.add(forward)])).toEqual([undefined, undefined]);
    expect(await forwarder.list()).toEqual([forward]);
    expect(await ask(forward, 'again')).toBe('again');
  });

  test('can be 200, on ::1 too, and leave no descriptor after 1,000 short connections', async () => {
    const port = await startServer(echo);
    const forwards: Forward[] = [];
    for (let index = 0; index < 200; index += 1) {
      const { listen } = await forwardTo(port);
      forwards.push(await forwardTo(port, { listen: { ...listen, address: '::1' } }));
    }
    expect(await forwarder.list()).toHaveLength(400);
    expect(await Promise.all(forwards.map((forward, index) => ask(forward, String(index))))).toEqual(
      forwards.map((_, index) => String(index)),
    );
    const [first] = forwards;
    if (!first) throw new Error('no forward');
    const before = openDescriptors();
    for (let round = 0; round < 20; round += 1)
      await Promise.all(Array.from({ length: 50 }, async () => expect(await ask(first, 'short')).toBe('short')));
    await vi.waitFor(() => expect(openDescriptors()).toBeLessThanOrEqual(before + 5));
    await Promise.all(forwards.map((forward) => forwarder.remove(forward)));
    expect(await forwarder.list()).toHaveLength(200);
  });

  test('name the program that has the port', async () => {
    const port = await startServer(echo);
    const target = { address: '127.0.0.1', port };
    expect(await forwarder.add({ protocol: 'tcp', listen: target, target })).toEqual({
      reason: 'taken',
      user: expect.stringMatching(new RegExp(`^.+ \\(pid ${process.pid}\\)$`)) as unknown,
    });
    expect(await forwarder.list()).toEqual([]);
  });

  test('say what the system says of an address that is not of this computer', async () => {
    const target = { address: '127.0.0.1', port: 1 };
    const listen = { address: '192.0.2.1', port: 8080 };
    expect(await forwarder.add({ protocol: 'tcp', listen, target })).toMatchObject({
      reason: 'refused',
      detail: expect.stringContaining('192.0.2.1') as unknown,
    });
  });

  test.runIf(process.getuid?.() === 0)('below 1024, turn away other computers on macOS', async () => {
    const asMac = disposeAtEnd(createSshForwarder({ session: connection.session, ...call('darwin') }));
    const listen = { address: '127.0.0.1', port: 923 };
    const forward: Forward = {
      protocol: 'tcp',
      listen,
      target: { address: '127.0.0.1', port: await startServer(echo) },
    };
    expect(await asMac.add(forward)).toBeUndefined();
    expect(await ask(forward, 'from here')).toBe('from here');
    const other = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .find(({ family, internal }) => family === 'IPv4' && !internal);
    if (other === undefined) return;
    const stranger = connect(listen.port, other.address);
    expect(await once(stranger, 'error')).toMatchObject([{ code: 'ECONNRESET' }]);
  });
});

describe.skipIf(!existsSync(SSHD))('a lost SSH connection', () => {
  test('fails its clients, so that no answer seems complete, and heals when the server is back', async () => {
    const port = await startServer((socket) => void socket.write('the first half'));
    const forward = await forwardTo(port);
    const echoing = await forwardTo(await startServer(echo));
    const socket = await connectTo(forward);
    await once(socket, 'data');
    const failed = once(socket, 'error');
    await sshd.kill();
    expect(await failed).toMatchObject([{ code: 'ECONNRESET' }]);
    await vi.waitFor(() => expect(connection.state().isConnected).toBe(false));
    // A new client waits for the connection.
    const answer = ask(echoing, 'are you back?');
    await sshd.restart();
    expect(await answer).toBe('are you back?');
    expect(connection.state()).toEqual({ isConnected: true });
  });

  test('tells clients when it does not come back in time', async () => {
    const forward = await forwardTo(await startServer(echo));
    await connection.session();
    await sshd.kill();
    await vi.waitFor(() => expect(connection.state().isConnected).toBe(false));
    const hasty = createSshForwarder({
      session: () => connection.session({ seconds: 0.2 }),
      ...call(),
    });
    disposeAtEnd(hasty);
    const listen = { address: '127.0.0.1', port: await findFreePort() };
    expect(await hasty.add({ ...forward, listen })).toBeUndefined();
    await expectReset({ ...forward, listen });
    await expect(connection.session({ seconds: 0.1 })).rejects.toThrow(/127\.0\.0\.1|no SSH connection/);
  });

  test('is dropped at once by a reset, although the other side does not answer', async () => {
    const forward = await forwardTo(await startServer(echo));
    expect(await ask(forward, 'one')).toBe('one');
    const socket = await connectTo(forward);
    socket.write('two');
    await once(socket, 'data');
    await sshd.signalLogins('SIGSTOP');
    const failed = once(socket, 'error');
    connection.reset();
    await failed;
    expect(await ask(forward, 'three')).toBe('three');
    expect(sessions).toHaveLength(2);
  });

  test('is noticed by its silence', { timeout: 60_000 }, async () => {
    const forward = await forwardTo(await startServer(echo));
    expect(await ask(forward, 'one')).toBe('one');
    await sshd.signalLogins('SIGSTOP');
    // It is lost once it has left three questions, 5 s apart, without an answer.
    expect(await ask(forward, 'two')).toBe('two');
    expect(sessions).toHaveLength(2);
  });

  test('is not opened again after the link has ended', async () => {
    await connection.session();
    await connection[Symbol.asyncDispose]();
    expect(sessions).toHaveLength(1);
    await expect(connection.session({ seconds: 0.1 })).rejects.toThrow();
  });
});

/** Opens a UDP socket that is closed at the end of the test. */
async function openSocket(address = '127.0.0.1'): Promise<DatagramSocket> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4').bind(0, address);
  await once(socket, 'listening');
  cleanups.push(async () => void socket.close());
  return socket;
}

/** Starts a UDP server of the "machine" that answers each datagram with the client's port and the same bytes. */
async function startUdpEcho(address?: string): Promise<{ readonly port: number; readonly peers: Set<number> }> {
  const server = await openSocket(address);
  const peers = new Set<number>();
  server.on('message', (payload: Buffer, peer: RemoteInfo) => {
    peers.add(peer.port);
    server.send(payload, peer.port, peer.address);
  });
  return { port: server.address().port, peers };
}

/** Sends a datagram until an answer comes: UDP may lose some. */
async function askByDatagram(client: DatagramSocket, { listen }: Forward, question: string): Promise<string> {
  const send = (): void => void client.send(question, listen.port, listen.address);
  const timer = setInterval(send, 1000);
  send();
  const [answer] = (await once(client, 'message')) as [Buffer];
  clearInterval(timer);
  return answer.toString();
}

async function forwardUdpTo(port: number, address = '127.0.0.1'): Promise<Forward> {
  const spare = createSocket(address.includes(':') ? 'udp6' : 'udp4').bind(0, address);
  await once(spare, 'listening');
  const listen = { address, port: spare.address().port };
  await new Promise<void>((resolve) => void spare.close(() => resolve()));
  return await forwardTo(port, { protocol: 'udp', listen, target: { address, port } });
}

describe.skipIf(!existsSync(SSHD))('UDP ports of this computer, forwarded over SSH', () => {
  test('carry datagrams of every size both ways, each client its own', async () => {
    const echoing = await startUdpEcho();
    const forward = await forwardUdpTo(echoing.port);
    const clients = await Promise.all(Array.from({ length: 5 }, () => openSocket()));
    const answers = clients.map((client, index) => askByDatagram(client, forward, `client ${index}`));
    expect(await Promise.all(answers)).toEqual(clients.map((_, index) => `client ${index}`));
    expect(echoing.peers.size).toBe(5);
    const [first] = clients;
    if (!first) throw new Error('no client');
    expect(await askByDatagram(first, forward, '')).toBe('');
    expect(await askByDatagram(first, forward, 'x'.repeat(60_000))).toBe('x'.repeat(60_000));
    expect(echoing.peers.size).toBe(5);
  });

  test('work with IPv6, and close', async () => {
    const forward = await forwardUdpTo((await startUdpEcho('::1')).port, '::1');
    const client = await openSocket('::1');
    expect(await askByDatagram(client, forward, 'six')).toBe('six');
    await forwarder.remove(forward);
    expect(await forwarder.list()).toEqual([]);
    expect(await forwarder.add(forward)).toBeUndefined();
    expect(await askByDatagram(client, forward, 'again')).toBe('again');
  });

  test('go on when the connection is back', async () => {
    const forward = await forwardUdpTo((await startUdpEcho()).port);
    const client = await openSocket();
    expect(await askByDatagram(client, forward, 'one')).toBe('one');
    await sshd.kill();
    await sshd.restart();
    expect(await askByDatagram(client, forward, 'two')).toBe('two');
  });

  test('forget silent clients, and keep no more than they may', async () => {
    const echoing = await startUdpEcho();
    const relay = createUdpRelay({ session: connection.session, ...call() });
    cleanups.push(async () => relay.close());
    const { listen, target } = await forwardUdpTo(echoing.port);
    await forwarder.remove({ protocol: 'udp', listen, target });
    const forward: Forward = { protocol: 'udp', listen, target };
    const opened = await openUdpForward(forward, { relay, idleMs: 400, mostClients: 2, ...call() });
    if ('reason' in opened) throw new Error(opened.reason);
    cleanups.push(opened.close);
    const [first, second, third] = await Promise.all([openSocket(), openSocket(), openSocket()]);
    for (const client of [first, second, third, first]) {
      if (client) expect(await askByDatagram(client, forward, 'hello')).toBe('hello');
    }
    // The third took the first one's place, which then came back as a new one.
    expect(echoing.peers.size).toBe(4);
    await sleep(1000);
    if (first) expect(await askByDatagram(first, forward, 'hello')).toBe('hello');
    expect(echoing.peers.size).toBe(5);
  });

  test('are opened while the machine is away', async () => {
    const away = disposeAtEnd(createSshForwarder({ session: () => new Promise(() => {}), ...call() }));
    const listen = { address: '127.0.0.1', port: await findFreePort() };
    const forward: Forward = { protocol: 'udp', listen, target: listen };
    expect(await away.add(forward)).toBeUndefined();
    expect(await away.list()).toEqual([forward]);
  });

  test('are refused if the port is taken, or the machine has no perl', async () => {
    const { port } = await startUdpEcho();
    const target = { address: '127.0.0.1', port };
    expect(await forwarder.add({ protocol: 'udp', listen: target, target })).toMatchObject({ reason: 'taken' });
    const authorized = await readFile(join(folder, 'key.pub'), 'utf8');
    sshd = await startRealSshd(folder, { authorized, lines: ['SetEnv PATH=/nowhere'] });
    const bare = disposeAtEnd(createLinkConnection({ open: openSession }));
    const forwarding = disposeAtEnd(createSshForwarder({ session: bare.session, ...call() }));
    const listen = { address: '127.0.0.1', port: await findFreePort() };
    expect(await forwarding.add({ protocol: 'udp', listen, target })).toEqual({
      reason: 'refused',
      detail: 'the machine has no perl, which UDP ports require',
    });
    expect(await forwarding.list()).toEqual([]);
  });
});

describe.skipIf(!existsSync(SSHD))("the user's own ssh", () => {
  test('forwards ports too, each side ending by itself', async () => {
    const { port, user, hostKey } = sshd;
    const target = { address: '127.0.0.1', port, user, hostKey, keyFile: join(folder, 'key') };
    const session = await openOpenSshSession(target, clientOptions());
    if ('refused' in session) throw new Error(session.refused?.join('\n'));
    disposeAtEnd(session);
    forwarder = disposeAtEnd(createSshForwarder({ session: async () => session, ...call() }));
    const echoing = await forwardTo(await startServer(echo));
    expect(await ask(echoing, 'over ssh')).toBe('over ssh');
    expect(await Promise.all(Array.from({ length: 20 }, () => ask(echoing, 'many')))).toEqual(Array(20).fill('many'));
    const ending = await connectTo(await forwardTo(await startServer((socket) => void socket.end('bye'))));
    expect(await readText(ending)).toBe('bye');
    ending.destroy();
    const socket = await connectTo(echoing);
    socket.write('ping');
    await once(socket, 'data');
    const failed = once(socket, 'error');
    session.drop();
    expect(await failed).toMatchObject([{ code: 'ECONNRESET' }]);
    await session.closed;
  });
});

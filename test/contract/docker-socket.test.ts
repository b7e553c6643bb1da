import { once } from 'node:events';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { dockerSocketPath, dockerSocketUrl, serveDockerSocket } from '../../src/link/docker-socket.ts';
import { clientCertificatesOf, renewCertificates } from '../../src/provision/certificates.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { findFreePort } from '../fakes/free-port.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const certificates = await renewCertificates({}, { name: 'web', names: ['127.0.0.1'], now: new Date() });
const tls = clientCertificatesOf(certificates);

let folder: Awaited<ReturnType<typeof createTemporaryFolder>>;
let cleanups: (() => Promise<void>)[];
let path: string;

beforeEach(async () => {
  folder = await createTemporaryFolder();
  path = dockerSocketPath(folder.path, 'linux');
  cleanups = [];
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
  await folder[Symbol.asyncDispose]();
});

/** Starts an engine that gets connections over mutual TLS, and lets each side end by itself, as Go's servers do. */
async function startEngine(onConnection: (socket: Socket) => void): Promise<{ url: string; tls: true }> {
  const { ca, server: own } = certificates;
  const sockets = new Set<Socket>();
  const server = createTlsServer(
    { ca, cert: own.cert, key: own.key, requestCert: true, rejectUnauthorized: true, allowHalfOpen: true },
    (socket) => {
      sockets.add(socket);
      onConnection(socket.on('error', () => {}));
    },
  ).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { url: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`, tls: true };
}

async function serve(endpoint: { url: string; tls: boolean }): Promise<AsyncDisposable> {
  const served = await serveDockerSocket({
    path,
    platform: process.platform,
    name: 'web',
    findEngine: async () => ({ endpoint, tls }),
  });
  cleanups.push(async () => await served[Symbol.asyncDispose]());
  return served;
}

async function readText(stream: Readable): Promise<string> {
  let all = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => (all += chunk));
  await once(stream, 'end');
  return all;
}

test('a client that has sent all still gets the answer, over TLS', async () => {
  await serve(
    await startEngine((socket) => void readText(socket).then((question) => socket.end(`re: ${question.length}`))),
  );
  const client = connect({ path, allowHalfOpen: true });
  client.end('x'.repeat(1_000_000));
  expect(await readText(client)).toBe('re: 1000000');
});

test('an engine that has sent all still gets what the client sends', async () => {
  let received: Promise<string> | undefined;
  await serve(
    await startEngine((socket) => {
      received = readText(socket);
      socket.end('done');
    }),
  );
  const client = connect({ path, allowHalfOpen: true });
  expect(await readText(client)).toBe('done');
  client.end('x'.repeat(1_000_000));
  expect((await received)?.length).toBe(1_000_000);
});

test('the socket is for this user only, replaces what a killed process left, and goes when it is closed', async () => {
  await writeFile(path, '');
  const served = await serve(await startEngine((socket) => socket.end()));
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  await served[Symbol.asyncDispose]();
  cleanups.pop();
  await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('closing the socket ends its connections', async () => {
  const served = await serve(await startEngine((socket) => void socket.write('hello')));
  const client = connect({ path });
  await once(client, 'data');
  await served[Symbol.asyncDispose]();
  cleanups.pop();
  await once(client, 'close');
});

test('an engine that is not there is reported as engines report errors', async () => {
  await serve({ url: `tcp://127.0.0.1:${await findFreePort()}`, tls: true });
  const call = request({ socketPath: path, path: '/version' }).end();
  const [response] = (await once(call, 'response')) as [Readable & { readonly statusCode: number }];
  expect(response.statusCode).toBe(503);
  expect(JSON.parse(await readText(response))).toEqual({
    message: 'The machine "web" does not answer: nothing listens there. Start it: slipway start web',
  });
});

test('a path that is too long for a socket gets a shorter place, in a private folder', async () => {
  const deep = join(folder.path, 'x'.repeat(90));
  await mkdir(deep);
  path = dockerSocketPath(deep, 'linux');
  expect(path).toMatch(/^\/tmp\/slipway-\d+\/[0-9a-f]{16}\.sock$/);
  await serve(await startEngine((socket) => socket.end('here')));
  const client = connect({ path });
  expect(await readText(client)).toBe('here');
  expect((await stat(join(path, '..'))).mode & 0o777).toBe(0o700);
});

test('a folder in /tmp that others can open is not used', async () => {
  path = '/tmp/slipway-test-open/0.sock';
  await mkdir('/tmp/slipway-test-open', { mode: 0o755, recursive: true });
  expect(await catchRejection(serve({ url: 'tcp://127.0.0.1:1', tls: true }))).toMatchObject({ code: 'LOCAL_FILES' });
});

test('an address is one that clients of Docker take', () => {
  expect(dockerSocketUrl('/home/me/.slipway/machines/web/docker.sock')).toBe(
    'unix:///home/me/.slipway/machines/web/docker.sock',
  );
  expect(dockerSocketUrl(dockerSocketPath(String.raw`C:\Users\me\.slipway`, 'win32'))).toMatch(
    /^npipe:\/\/\/\/\.\/pipe\/slipway-[0-9a-f]{16}$/,
  );
});

test('an engine without TLS is served too', async () => {
  const server = createServer((socket) => void socket.end('plain')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(async () => void server.close());
  const served = await serveDockerSocket({
    path,
    platform: process.platform,
    name: 'web',
    findEngine: async () => ({
      endpoint: { url: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`, tls: false },
      tls: undefined,
    }),
  });
  cleanups.push(async () => await served[Symbol.asyncDispose]());
  expect(await readText(connect({ path }))).toBe('plain');
});

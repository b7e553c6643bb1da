import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { clientCertificatesOf, renewCertificates, type Certificates } from '../../src/provision/certificates.ts';
import { fetchEngineVersion, verifyEngine } from '../../src/provision/engine-api.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const versionBody = { Version: '28.2.2', ApiVersion: '1.50', Os: 'linux', Arch: 'amd64' };
const respondWithVersion: RequestListener = (request, response) =>
  request.url === '/version' ? response.end(JSON.stringify(versionBody)) : response.writeHead(404).end();
const validCertificates = await renewCertificates({}, { name: 'web', names: ['127.0.0.1'], now: new Date() });
const strangerCertificates = await renewCertificates({}, { name: 'web', names: ['127.0.0.1'], now: new Date() });
const otherAddressCertificates = await renewCertificates({}, { name: 'web', names: ['192.0.2.1'], now: new Date() });
const callOptions = { signal: new AbortController().signal, seconds: 10 };

async function startEngine(
  certificates: Certificates,
  more: ServerOptions = {},
  listener: RequestListener = respondWithVersion,
) {
  const server = createTlsServer(
    {
      ca: certificates.ca,
      cert: certificates.server.cert,
      key: certificates.server.key,
      requestCert: true,
      rejectUnauthorized: true,
      ...more,
    },
    listener,
  );
  return startServer(server);
}

async function startServer(server: Server, ...at: readonly (number | string)[]) {
  await once(at.length > 0 ? server.listen(at[0]) : server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return {
    endpoint: { url: `tcp://127.0.0.1:${(address as AddressInfo).port}`, tls: true },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

describe('verifyEngine', () => {
  test('accepts an engine that answers the client certificate and refuses others', async () => {
    await using web = await startEngine(validCertificates);
    expect(await verifyEngine(web.endpoint, clientCertificatesOf(validCertificates), callOptions)).toEqual(versionBody);
  });

  test('refuses an engine that answers clients without a certificate', async () => {
    for (const more of [{ requestCert: false }, { rejectUnauthorized: false }]) {
      await using web = await startEngine(validCertificates, more);
      const error = await catchRejection(
        verifyEngine(web.endpoint, clientCertificatesOf(validCertificates), callOptions),
      );
      expect(error).toMatchObject({
        code: 'ENGINE_OPEN',
        message: `The engine at ${web.endpoint.url} answers callers without a client certificate`,
      });
    }
  });

  test("fails at once for another CA's certificate or another address, since waiting fixes neither", async () => {
    for (const [other, message] of [
      [strangerCertificates, /certificate/],
      [otherAddressCertificates, /192\.0\.2\.1/],
    ] as const) {
      await using web = await startEngine({ ...other, ca: validCertificates.ca });
      const ca = other === strangerCertificates ? validCertificates.ca : other.ca;
      const started = performance.now();
      const error = await catchRejection(
        verifyEngine(web.endpoint, { ...clientCertificatesOf(validCertificates), ca }, { ...callOptions, seconds: 60 }),
      );
      expect(error?.code).toBe('ENGINE_UNREACHABLE');
      expect(error?.message).toMatch(message);
      expect(performance.now() - started).toBeLessThan(20_000);
    }
  });

  test('waits for an engine that starts late', async () => {
    const probe = await startEngine(validCertificates);
    const { endpoint } = probe;
    await probe[Symbol.asyncDispose]();
    const work = verifyEngine(endpoint, clientCertificatesOf(validCertificates), { ...callOptions, seconds: 30 });
    const server = createTlsServer(
      {
        ca: validCertificates.ca,
        cert: validCertificates.server.cert,
        key: validCertificates.server.key,
        requestCert: true,
        rejectUnauthorized: true,
      },
      respondWithVersion,
    );
    await using _web = await startServer(server, Number(endpoint.url.split(':').at(-1)));
    expect(await work).toEqual(versionBody);
  });

  test('reports after the timeout that nothing listens', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    const url = `tcp://127.0.0.1:${port}`;
    expect(
      await catchRejection(
        verifyEngine({ url, tls: true }, clientCertificatesOf(validCertificates), { ...callOptions, seconds: 0.3 }),
      ),
    ).toMatchObject({
      code: 'ENGINE_UNREACHABLE',
      message: `The engine at ${url} could not be reached: nothing listens there`,
      hint: `If the engine runs there, check that no firewall in between blocks port ${port}`,
    });
  });

  test('times out on an engine that never answers', async () => {
    await using web = await startEngine(validCertificates, {}, () => {});
    const error = await catchRejection(
      verifyEngine(web.endpoint, clientCertificatesOf(validCertificates), { ...callOptions, seconds: 0.3 }),
    );
    expect(error?.message).toContain('no answer');
  });

  test('quotes the error of the engine', async () => {
    await using web = await startEngine(validCertificates, {}, (_request, response) =>
      response.writeHead(500).end('boom'),
    );
    const error = await catchRejection(
      verifyEngine(web.endpoint, clientCertificatesOf(validCertificates), { ...callOptions, seconds: 2 }),
    );
    expect(error?.message).toContain('it answered 500 boom');
  });

  test('stops when the user cancels', async () => {
    const stop = new AbortController();
    await using web = await startEngine(validCertificates, {}, () => stop.abort());
    const work = verifyEngine(web.endpoint, clientCertificatesOf(validCertificates), {
      signal: stop.signal,
      seconds: 60,
    });
    expect((await catchRejection(work))?.code).toBe('CANCELED');
  });

  test.runIf(isPosix)('asks an engine on a Unix socket without TLS', async () => {
    await using folder = await createTemporaryFolder();
    const path = join(folder.path, 'docker.sock');
    await using _web = await startServer(createHttpServer(respondWithVersion), path);
    const endpoint = { url: `unix://${path}`, tls: false };
    expect(await verifyEngine(endpoint, undefined, callOptions)).toEqual(versionBody);
    const gone = { url: `unix://${path}.gone`, tls: false };
    expect((await catchRejection(verifyEngine(gone, undefined, { ...callOptions, seconds: 0.1 })))?.message).toContain(
      'the socket does not exist',
    );
  });

  test('asks an engine without TLS over plain HTTP', async () => {
    await using web = await startServer(createHttpServer(respondWithVersion));
    expect(await fetchEngineVersion({ ...web.endpoint, tls: false }, undefined, callOptions)).toEqual(versionBody);
  });
});

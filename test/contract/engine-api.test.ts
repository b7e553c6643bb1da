import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { clientPart, renewCertificates, type Certificates } from '../../src/provision/certificates.ts';
import { askVersion, verifyEngine } from '../../src/provision/engine-api.ts';
import { rejected } from '../fakes/caught.ts';
import { temporaryFolder } from '../fakes/folder.ts';

const version = { Version: '28.2.2', ApiVersion: '1.50', Os: 'linux', Arch: 'amd64' };
const answers: RequestListener = (request, response) =>
  request.url === '/version' ? response.end(JSON.stringify(version)) : response.writeHead(404).end();
const made = await renewCertificates({}, { name: 'web', names: ['127.0.0.1'], now: new Date() });
const stranger = await renewCertificates({}, { name: 'web', names: ['127.0.0.1'], now: new Date() });
const elsewhere = await renewCertificates({}, { name: 'web', names: ['192.0.2.1'], now: new Date() });
const call = { signal: new AbortController().signal, seconds: 10 };

async function engine(of: Certificates, more: ServerOptions = {}, listener: RequestListener = answers) {
  const server = createTlsServer(
    { ca: of.ca, cert: of.server.cert, key: of.server.key, requestCert: true, rejectUnauthorized: true, ...more },
    listener,
  );
  return listening(server);
}

async function listening(server: Server, ...at: readonly (number | string)[]) {
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

describe('an engine', () => {
  test('that answers our certificate and turns others away is verified', async () => {
    await using web = await engine(made);
    expect(await verifyEngine(web.endpoint, clientPart(made), call)).toEqual(version);
  });

  test('that answers whoever comes is open, and that is no success', async () => {
    for (const more of [{ requestCert: false }, { rejectUnauthorized: false }]) {
      await using web = await engine(made, more);
      const error = await rejected(verifyEngine(web.endpoint, clientPart(made), call));
      expect(error).toMatchObject({
        code: 'ENGINE_OPEN',
        message: `The engine at ${web.endpoint.url} answers callers without a client certificate`,
      });
    }
  });

  test('with another CA’s certificate, or for another address, is refused at once: waiting mends neither', async () => {
    for (const [other, why] of [
      [stranger, /certificate/],
      [elsewhere, /192\.0\.2\.1/],
    ] as const) {
      await using web = await engine({ ...other, ca: made.ca });
      const ca = other === stranger ? made.ca : other.ca;
      const started = performance.now();
      const error = await rejected(verifyEngine(web.endpoint, { ...clientPart(made), ca }, { ...call, seconds: 60 }));
      expect(error?.code).toBe('ENGINE_UNREACHABLE');
      expect(error?.message).toMatch(why);
      expect(performance.now() - started).toBeLessThan(20_000);
    }
  });

  test('that starts late is waited for', async () => {
    const probe = await engine(made);
    const { endpoint } = probe;
    await probe[Symbol.asyncDispose]();
    const work = verifyEngine(endpoint, clientPart(made), { ...call, seconds: 30 });
    const server = createTlsServer(
      { ca: made.ca, cert: made.server.cert, key: made.server.key, requestCert: true, rejectUnauthorized: true },
      answers,
    );
    await using _web = await listening(server, Number(endpoint.url.split(':').at(-1)));
    expect(await work).toEqual(version);
  });

  test('that is not there is said so after the time it may take', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    const url = `tcp://127.0.0.1:${port}`;
    expect(await rejected(verifyEngine({ url, tls: true }, clientPart(made), { ...call, seconds: 0.3 }))).toMatchObject(
      {
        code: 'ENGINE_UNREACHABLE',
        message: `The engine at ${url} can't be reached: nothing listens there`,
        hint: `If it runs there, a firewall in between must let you through to port ${port}`,
      },
    );
  });

  test('that never answers is given up in time', async () => {
    await using web = await engine(made, {}, () => {});
    const error = await rejected(verifyEngine(web.endpoint, clientPart(made), { ...call, seconds: 0.3 }));
    expect(error?.message).toContain('no answer');
  });

  test('that answers with an error is quoted', async () => {
    await using web = await engine(made, {}, (_request, response) => response.writeHead(500).end('boom'));
    const error = await rejected(verifyEngine(web.endpoint, clientPart(made), { ...call, seconds: 0.2 }));
    expect(error?.message).toContain('it answered 500 boom');
  });

  test('is no longer asked once the user stops', async () => {
    const stop = new AbortController();
    await using web = await engine(made, {}, () => stop.abort());
    const work = verifyEngine(web.endpoint, clientPart(made), { signal: stop.signal, seconds: 60 });
    expect((await rejected(work))?.code).toBe('CANCELED');
  });

  test('on a Unix socket is asked there, without TLS', async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'docker.sock');
    await using _web = await listening(createHttpServer(answers), path);
    const endpoint = { url: `unix://${path}`, tls: false };
    expect(await verifyEngine(endpoint, undefined, call)).toEqual(version);
    const gone = { url: `unix://${path}.gone`, tls: false };
    expect((await rejected(verifyEngine(gone, undefined, { ...call, seconds: 0.1 })))?.message).toContain(
      'there is no such socket',
    );
  });

  test('without TLS is asked in the clear', async () => {
    await using web = await listening(createHttpServer(answers));
    expect(await askVersion({ ...web.endpoint, tls: false }, undefined, call)).toEqual(version);
  });
});

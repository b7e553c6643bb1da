import { request as httpRequest, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { canceledError, reasonOf, SlipwayError, systemCode } from '../errors.ts';
import type { ClientCertificates, Endpoint } from '../machine/model.ts';

/** The fields of `GET /version` in the Docker Engine API that Slipway reads. */
export type EngineVersion = {
  readonly Version: string;
  readonly ApiVersion: string;
  readonly Os: string;
  readonly Arch: string;
};

export type EngineCallOptions = { readonly signal: AbortSignal; readonly seconds: number };

/** Sends one `GET /version`. Rejects with Node's own error, or with a plain one that quotes the answer. */
export async function fetchEngineVersion(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  call: EngineCallOptions,
): Promise<EngineVersion> {
  return (await fetchEngineJson('/version', endpoint, tls, call)) as EngineVersion;
}

/**
 * Rejects where the engine does not answer. An open connection proves nothing: proxies on the way keep silent ones
 * open.
 */
export async function pingEngine(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  call: EngineCallOptions,
): Promise<void> {
  const { status } = await fetchFromEngine(endpoint, tls, call, '/_ping');
  if (status !== 200) throw new Error(`it answered ${status}`);
}

/** The fields of `GET /info` that Slipway reads. */
export type EngineInfo = {
  readonly Containers: number;
  readonly ContainersRunning: number;
  readonly ContainersPaused: number;
  readonly ContainersStopped: number;
  readonly Images: number;
};

export async function fetchEngineInfo(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  call: EngineCallOptions,
): Promise<EngineInfo> {
  return (await fetchEngineJson('/info', endpoint, tls, call)) as EngineInfo;
}

async function fetchEngineJson(
  path: string,
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  call: EngineCallOptions,
): Promise<unknown> {
  const { status, body } = await fetchFromEngine(endpoint, tls, call, path);
  if (status !== 200) throw new Error(`it answered ${status} ${body.slice(0, 200)}`);
  return JSON.parse(body) as unknown;
}

/**
 * Requires that the engine answers over mutual TLS within `seconds`, in which it may still be starting, and that it
 * refuses clients without a certificate. Every creation ends with this.
 */
export async function verifyEngine(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  { signal, seconds }: EngineCallOptions,
): Promise<EngineVersion> {
  if (!tls) return await waitForEngine(endpoint, tls, { signal, seconds });
  // An engine mostly answers the first request, so both are sent at once.
  const [version, refused] = await Promise.all([
    waitForEngine(endpoint, tls, { signal, seconds }),
    checkAnonymousRefused(endpoint, tls, { signal, seconds: Math.min(10, seconds) }),
  ]);
  if (!refused) await requireClientAuth(endpoint, tls, signal);
  return version;
}

/** Resolves to true on a TLS alert, which is certain; other errors can come from an engine that has not started yet. */
async function checkAnonymousRefused(
  endpoint: Endpoint,
  { ca }: ClientCertificates,
  call: EngineCallOptions,
): Promise<boolean> {
  return await fetchFromEngine(endpoint, { ca }, call).then(
    () => false,
    (error: unknown) => /ALERT/.test(systemCode(error) ?? ''),
  );
}

async function waitForEngine(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  { signal, seconds }: EngineCallOptions,
): Promise<EngineVersion> {
  const end = performance.now() + seconds * 1000;
  for (let pause = 50; ; pause = Math.min(pause * 2, 2000)) {
    try {
      return await fetchEngineVersion(endpoint, tls, { signal, seconds: Math.min(10, seconds) });
    } catch (error) {
      if (signal.aborted) throw canceledError();
      if (performance.now() + pause > end || isPermanentFailure(error)) throw engineUnreachableError(endpoint, error);
    }
    await sleep(pause, undefined, { signal }).catch(() => {
      throw canceledError();
    });
  }
}

/** True for errors that no waiting changes: a wrong certificate, or a wrong path of a socket. */
function isPermanentFailure(error: unknown): boolean {
  return /^(ERR_TLS|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|ENOENT$)/.test(systemCode(error) ?? '');
}

function engineUnreachableError(endpoint: Endpoint, error: unknown): SlipwayError {
  const { port } = new URL(endpoint.url.replace(/^(tcp|unix):/, 'http:').replace(/^http:\/\/\//, 'http://localhost/'));
  const hint = endpoint.url.startsWith('unix:')
    ? 'Check the path of the socket, and that you have access to it: docker --host URL version'
    : isPermanentFailure(error)
      ? 'Its certificate is not the expected one. Check the certificates that you specified, or run: slipway provision NAME'
      : `If the engine runs there, check that no firewall in between blocks port ${port}`;
  return new SlipwayError(
    'ENGINE_UNREACHABLE',
    `The engine at ${endpoint.url} could not be reached: ${unreachableReason(error)}`,
    {
      hint,
      cause: error,
    },
  );
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  EHOSTUNREACH: 'there is no route to it',
  ENOTFOUND: 'no such host name',
  ENOENT: 'the socket does not exist',
  ETIMEDOUT: 'no answer',
  ABORT_ERR: 'no answer',
  ECONNRESET: 'it closed the connection',
};

/** Returns in a few words why an engine did not answer. */
export function unreachableReason(error: unknown): string {
  const known = REASONS[systemCode(error) ?? ''];
  if (known !== undefined) return known;
  return reasonOf(error);
}

/**
 * Throws ENGINE_OPEN where a client without a certificate gets an HTTP answer: the port is open to everyone who can
 * reach it.
 */
async function requireClientAuth(endpoint: Endpoint, { ca }: ClientCertificates, signal: AbortSignal): Promise<void> {
  const answer = await fetchFromEngine(endpoint, { ca }, { signal, seconds: 10 }).catch((error: unknown) => {
    if (signal.aborted) throw canceledError();
    // The wanted result: the alert of the handshake, or the reset that some clients see instead.
    if (/ALERT|ECONNRESET|EPIPE|ERR_SSL/.test(systemCode(error) ?? '')) return undefined;
    throw engineUnreachableError(endpoint, error);
  });
  if (answer) {
    throw new SlipwayError(
      'ENGINE_OPEN',
      `The engine at ${endpoint.url} answers callers without a client certificate`,
      {
        hint: 'Everyone who can reach that port controls the host. Remove the setting that disables tlsverify there, and restart the engine',
      },
    );
  }
}

/** Creates a GET request, which is sent once the caller ends it. */
export function createEngineRequest(
  endpoint: Endpoint,
  tls: Partial<ClientCertificates> | undefined,
  { path, signal }: { readonly path: string; readonly signal: AbortSignal },
  onResponse: (response: IncomingMessage) => void,
): ClientRequest {
  const socket = /^unix:\/\/(.+)$/.exec(endpoint.url)?.[1];
  const url = new URL(endpoint.url.replace(/^tcp:/, tls ? 'https:' : 'http:').replace(/^unix:.*/, 'http://localhost'));
  const options: RequestOptions = {
    path,
    // No pooled connection: a request without a certificate must not use one that was opened with it.
    agent: false,
    signal,
    ...(socket === undefined ? { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port } : { socketPath: socket }),
  };
  return tls ? httpsRequest({ ...options, ...tls }, onResponse) : httpRequest(options, onResponse);
}

function fetchFromEngine(
  endpoint: Endpoint,
  tls: Partial<ClientCertificates> | undefined,
  { signal, seconds }: EngineCallOptions,
  path = '/version',
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const onResponse = (response: IncomingMessage): void => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.on('error', reject);
    };
    const call = createEngineRequest(endpoint, tls, { path, signal }, onResponse);
    // Not AbortSignal.timeout: the garbage collector may collect a signal that only AbortSignal.any refers to.
    const timer = setTimeout(() => call.destroy(new Error(`no answer within ${seconds} s`)), seconds * 1000);
    call.on('close', () => clearTimeout(timer));
    call.on('error', reject);
    call.end();
  });
}

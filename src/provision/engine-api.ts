import { request as httpRequest, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { canceledError, reasonOf, SlipwayError, systemCode } from '../errors.ts';
import type { ClientCertificates, Endpoint } from '../machine/model.ts';

/** What `GET /version` of the Docker Engine API tells, as far as we read it. */
export type EngineVersion = {
  readonly Version: string;
  readonly ApiVersion: string;
  readonly Os: string;
  readonly Arch: string;
};

export type EngineCallOptions = { readonly signal: AbortSignal; readonly seconds: number };

/** One `GET /version`. Rejects with Node's own error, or a plain one that says what the answer was. */
export async function fetchEngineVersion(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  call: EngineCallOptions,
): Promise<EngineVersion> {
  return (await fetchEngineJson('/version', endpoint, tls, call)) as EngineVersion;
}

/** Whether it still answers: what proxies on the way say of a silent connection is not the engine's word. */
export async function pingEngine(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  call: EngineCallOptions,
): Promise<void> {
  const { status } = await fetchFromEngine(endpoint, tls, call, '/_ping');
  if (status !== 200) throw new Error(`it answered ${status}`);
}

/** What `GET /info` tells, as far as we read it. */
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
 * The end of every create: the engine answers over mutual TLS, within the time it may take to start, and turns away who has no
 * client certificate.
 */
export async function verifyEngine(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  { signal, seconds }: EngineCallOptions,
): Promise<EngineVersion> {
  if (!tls) return await waitForEngine(endpoint, tls, { signal, seconds });
  // Most often it answers the first question, and so may be asked both at once.
  const [version, refused] = await Promise.all([
    waitForEngine(endpoint, tls, { signal, seconds }),
    checkAnonymousRefused(endpoint, tls, { signal, seconds: Math.min(10, seconds) }),
  ]);
  if (!refused) await requireClientAuth(endpoint, tls, signal);
  return version;
}

/** The alert of a handshake says it for sure; all else may come of an engine that has not started yet. */
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

/** A wrong certificate does not become right by waiting, nor a socket's path. */
function isPermanentFailure(error: unknown): boolean {
  return /^(ERR_TLS|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|ENOENT$)/.test(systemCode(error) ?? '');
}

function engineUnreachableError(endpoint: Endpoint, error: unknown): SlipwayError {
  const { port } = new URL(endpoint.url.replace(/^(tcp|unix):/, 'http:').replace(/^http:\/\/\//, 'http://localhost/'));
  const hint = endpoint.url.startsWith('unix:')
    ? 'Check the path of the socket, and that you may use it: docker --host URL version'
    : isPermanentFailure(error)
      ? 'Its certificate is not the one expected: check the certificates that were given, or make them anew with: slipway provision NAME'
      : `If it runs there, a firewall in between must let you through to port ${port}`;
  return new SlipwayError(
    'ENGINE_UNREACHABLE',
    `The engine at ${endpoint.url} can't be reached: ${unreachableReason(error)}`,
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
  ENOENT: 'there is no such socket',
  ETIMEDOUT: 'no answer',
  ABORT_ERR: 'no answer',
  ECONNRESET: 'it hung up',
};

/** Why an engine did not answer. */
export function unreachableReason(error: unknown): string {
  const known = REASONS[systemCode(error) ?? ''];
  if (known !== undefined) return known;
  return reasonOf(error);
}

/** Any HTTP answer to a caller without a certificate means that the port is open to the world. */
async function requireClientAuth(endpoint: Endpoint, { ca }: ClientCertificates, signal: AbortSignal): Promise<void> {
  const answer = await fetchFromEngine(endpoint, { ca }, { signal, seconds: 10 }).catch((error: unknown) => {
    if (signal.aborted) throw canceledError();
    // The handshake's alert, or the reset that some see instead of it: the answer we want.
    if (/ALERT|ECONNRESET|EPIPE|ERR_SSL/.test(systemCode(error) ?? '')) return undefined;
    throw engineUnreachableError(endpoint, error);
  });
  if (answer) {
    throw new SlipwayError(
      'ENGINE_OPEN',
      `The engine at ${endpoint.url} answers callers without a client certificate`,
      {
        hint: 'Whoever reaches that port owns the host: see what sets tlsverify to false there, restart the engine, then run the same command again',
      },
    );
  }
}

/** A GET that is not sent before its `end`. */
export function createEngineRequest(
  endpoint: Endpoint,
  tls: Partial<ClientCertificates> | undefined,
  { path, signal }: { readonly path: string; readonly signal: AbortSignal },
  answered: (response: IncomingMessage) => void,
): ClientRequest {
  const socket = /^unix:\/\/(.+)$/.exec(endpoint.url)?.[1];
  const url = new URL(endpoint.url.replace(/^tcp:/, tls ? 'https:' : 'http:').replace(/^unix:.*/, 'http://localhost'));
  const options: RequestOptions = {
    path,
    // No pooled connection: the stranger's call must not ride on ours.
    agent: false,
    signal,
    ...(socket === undefined ? { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port } : { socketPath: socket }),
  };
  return tls ? httpsRequest({ ...options, ...tls }, answered) : httpRequest(options, answered);
}

function fetchFromEngine(
  endpoint: Endpoint,
  tls: Partial<ClientCertificates> | undefined,
  { signal, seconds }: EngineCallOptions,
  path = '/version',
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const answered = (response: IncomingMessage): void => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.on('error', reject);
    };
    const call = createEngineRequest(endpoint, tls, { path, signal }, answered);
    // A timer of our own: the garbage collector may take a timeout signal that only AbortSignal.any refers to.
    const timer = setTimeout(() => call.destroy(new Error(`no answer within ${seconds} s`)), seconds * 1000);
    call.on('close', () => clearTimeout(timer));
    call.on('error', reject);
    call.end();
  });
}

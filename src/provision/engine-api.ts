import {
  request as httpRequest,
  type Agent,
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { canceledError, networkReasonOf, SlipwayError, systemCode } from '../errors.ts';
import type { ClientCertificates, Endpoint } from '../machine/model.ts';

/** The fields of `GET /version` in the Docker Engine API that Slipway reads. */
export type EngineVersion = {
  readonly Version: string;
  readonly ApiVersion: string;
  readonly Os: string;
  readonly Arch: string;
};

export type EngineCallOptions = {
  readonly signal: AbortSignal;
  readonly seconds: number;
  /** Keeps connections open for further requests, which must all be to one engine with the same certificates. */
  readonly agent?: Agent;
};

/** Sends one `GET /version`. Rejects with Node's error, or with an error that quotes the engine's answer. */
export async function fetchEngineVersion(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  call: EngineCallOptions,
): Promise<EngineVersion> {
  return (await fetchEngineJson('/version', endpoint, tls, call)) as EngineVersion;
}

/**
 * Rejects if the engine does not answer. An open connection does not prove that it runs: a proxy in between may keep
 * the connection open.
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

/** Returns the containers that run, as the engine describes them. */
export async function fetchRunningContainers(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  call: EngineCallOptions,
): Promise<unknown> {
  return await fetchEngineJson('/containers/json', endpoint, tls, call);
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
 * Requires that the engine answers over mutual TLS and refuses clients without a certificate. Waits up to `seconds`,
 * since the engine may still be starting. Every creation ends with this check.
 */
export async function verifyEngine(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  { signal, seconds }: EngineCallOptions,
): Promise<EngineVersion> {
  if (!tls) return await waitForEngine(endpoint, tls, { signal, seconds });
  // Sends both requests at once, since an engine usually answers the first attempt.
  const [version, refused] = await Promise.all([
    waitForEngine(endpoint, tls, { signal, seconds }),
    checkAnonymousRefused(endpoint, tls, { signal, seconds: Math.min(10, seconds) }),
  ]);
  if (!refused) await requireClientAuth(endpoint, tls, signal);
  return version;
}

/** Resolves to true on a TLS alert, which is proof. Other errors can come from an engine that has not started yet. */
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

/** Returns whether waiting can't fix the error: a wrong certificate, or a wrong path of a socket. */
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

const ENGINE_REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'the socket does not exist',
  ABORT_ERR: 'no answer',
};

/** Returns a short reason why an engine did not answer. */
export function unreachableReason(error: unknown): string {
  return ENGINE_REASONS[systemCode(error) ?? ''] ?? networkReasonOf(error);
}

/**
 * Throws ENGINE_OPEN if the engine answers a client without a certificate: anyone who can reach the port controls it.
 */
async function requireClientAuth(endpoint: Endpoint, { ca }: ClientCertificates, signal: AbortSignal): Promise<void> {
  const answer = await fetchFromEngine(endpoint, { ca }, { signal, seconds: 10 }).catch((error: unknown) => {
    if (signal.aborted) throw canceledError();
    // The engine refused the client: with a TLS alert, or with a reset, which some clients receive instead.
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

/** Creates a GET request. It is sent when the caller calls `end()`. */
export function createEngineRequest(
  endpoint: Endpoint,
  tls: Partial<ClientCertificates> | undefined,
  { path, signal, agent }: { readonly path: string; readonly signal: AbortSignal; readonly agent?: Agent | undefined },
  onResponse: (response: IncomingMessage) => void,
): ClientRequest {
  const socket = /^unix:\/\/(.+)$/.exec(endpoint.url)?.[1];
  const url = new URL(endpoint.url.replace(/^tcp:/, tls ? 'https:' : 'http:').replace(/^unix:.*/, 'http://localhost'));
  const options: RequestOptions = {
    path,
    // Without an agent, uses no pooled connection: a request without a certificate must not reuse one that has one.
    agent: agent ?? false,
    signal,
    ...(socket === undefined ? { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port } : { socketPath: socket }),
  };
  return tls ? httpsRequest({ ...options, ...tls }, onResponse) : httpRequest(options, onResponse);
}

function fetchFromEngine(
  endpoint: Endpoint,
  tls: Partial<ClientCertificates> | undefined,
  { signal, seconds, agent }: EngineCallOptions,
  path = '/version',
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    let isAnswered = false;
    const onResponse = (response: IncomingMessage): void => {
      isAnswered = true;
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.on('error', reject);
    };
    const call = createEngineRequest(endpoint, tls, { path, signal, agent }, onResponse);
    // AbortSignal.timeout is no option: a signal that only AbortSignal.any refers to may be garbage-collected.
    const timer = setTimeout(() => call.destroy(new Error(`no answer within ${seconds} s`)), seconds * 1000);
    call.on('error', reject);
    call.on('close', () => {
      clearTimeout(timer);
      // Node reports no error for an answer that upgrades to another protocol. A broken answer has an error of its own.
      if (!isAnswered) reject(new Error('it closed the connection without an answer'));
    });
    call.end();
  });
}

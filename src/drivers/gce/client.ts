import type { Agent } from 'node:http';
import { hasProxy } from '../../computer/proxy.ts';
import { retry } from '../cloud/retry.ts';
import { canceledError } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { API_METHODS, type ComputeClientName } from './api-methods.ts';
import type { CredentialsSource } from './credentials-source.ts';
import { type GoogleAuthClient, createAuthClient, findCredentialsSource, resolveProject } from './credentials.ts';
import { resolveEndpoint, pathPrefixOf } from './endpoint.ts';
import {
  foreignAnswerError,
  httpStatusOf,
  incompleteListError,
  isProjectMissing,
  type RequestContext,
  responseError,
  tokenError,
  toSlipwayError,
  transientReasonOf,
} from './errors.ts';
import type { UnresolvedGceOptions } from './options.ts';
import { parseJson } from '../../parse-json.ts';

type GceSdk = typeof import('./sdk.ts');
export type RequestFields = Readonly<Record<string, unknown>>;

export type GceConnection = {
  readonly call: DriverCall;
  readonly project: string;
  /** The endpoint that the user chose; undefined for Google's own. */
  readonly endpoint: URL | undefined;
  /** Where the credentials come from, for messages. */
  readonly credentials: CredentialsSource;
  /**
   * Sends one request; retries transient failures for a limited time, with a note. `before` runs before each attempt.
   */
  send<T>(
    doing: string,
    client: ComputeClientName,
    method: string,
    request: RequestFields,
    before?: () => Promise<void>,
  ): Promise<T>;
  /** Like `send`; resolves to undefined where the resource does not exist. Rejects if the whole project is missing. */
  find<T>(doing: string, client: ComputeClientName, method: string, request: RequestFields): Promise<T | undefined>;
  /**
   * Returns all pages of a list; of an aggregated one, the resources of all zones or regions. Rejects if Google could
   * not ask one of them: a list that lacks some must not count as whole.
   */
  list<T>(doing: string, client: ComputeClientName, method: string, request: RequestFields): Promise<readonly T[]>;
};

const RETRY_SECONDS = 60;
const REQUEST_TIMEOUT_MS = 150_000;
// Turns off the clients' own retries, which are silent: `retry` shows a note.
const SINGLE_TRY_OPTIONS = { timeout: REQUEST_TIMEOUT_MS, retry: { retryCodes: [] }, autoPaginate: false };

/** The options that say how to connect. */
type AccountOptions = Pick<UnresolvedGceOptions, 'project' | 'endpoint'>;

type ComputeClient = Readonly<Record<string, (request: RequestFields, options: object) => Promise<readonly [unknown]>>>;
type PagedComputeClient = Readonly<Record<string, (request: RequestFields, options: object) => AsyncIterable<unknown>>>;

/**
 * Connects to Compute Engine. Only this file loads the SDK, so that commands for other drivers' machines don't, and
 * only it holds the SDK's clients: every error of the SDK and of Google's auth library leaves it as a SlipwayError.
 */
export async function connectGce(options: AccountOptions, call: DriverCall): Promise<GceConnection> {
  const endpoint = await resolveEndpoint(options, call.computer.env);
  const project = options.project ?? (await resolveProject(call));
  const credentials = await findCredentialsSource(call.computer);
  const contextOf = (doing: string, method: string, request: RequestFields): RequestContext => ({
    doing,
    project: typeof request.project === 'string' ? request.project : project,
    credentials,
    creates: method === 'insert' || method === 'bulkInsert',
    zone: typeof request.zone === 'string' ? request.zone : undefined,
    signal: call.signal,
  });
  const clients = await getClients(endpoint, credentials, call).catch((error: unknown) => {
    throw toSlipwayError(error, contextOf('signing in', '', {}));
  });
  const send: GceConnection['send'] = <T>(
    ...[doing, kind, method, request, before]: Parameters<GceConnection['send']>
  ): Promise<T> =>
    retryTransient(
      contextOf(doing, method, request),
      call,
      async () => {
        const client = clients(kind);
        const [answer] =
          (await client[requireUsedMethod(kind, method)]?.({ project, ...request }, SINGLE_TRY_OPTIONS)) ?? [];
        return answer as T;
      },
      before,
    );
  return {
    call,
    project,
    endpoint,
    credentials,
    send,
    find: async <T>(...query: Parameters<GceConnection['send']>) => {
      try {
        return await send<T>(...query);
      } catch (error) {
        if (httpStatusOf(error) === 404 && !isProjectMissing(error)) return undefined;
        throw error;
      }
    },
    list: <T>(doing: string, kind: ComputeClientName, method: string, request: RequestFields) =>
      retryTransient(contextOf(doing, method, request), call, async () => {
        const found: T[] = [];
        const client = clients(kind) as unknown as PagedComputeClient;
        const pages = client[`${requireUsedMethod(kind, method)}Async`]?.({ project, ...request }, SINGLE_TRY_OPTIONS);
        for await (const item of pages ?? []) found.push(...flattenScopes<T>(item));
        return found;
      }),
  };
}

/** Sends a request until it succeeds or fails for good. `before` runs before each attempt, with errors of its own. */
async function retryTransient<T>(
  context: RequestContext,
  call: DriverCall,
  work: () => Promise<T>,
  before?: () => Promise<void>,
): Promise<T> {
  const attempt = async (): Promise<T> => {
    await before?.();
    try {
      return await rejectOnAbort(work(), call.signal);
    } catch (error) {
      throw toSlipwayError(error, context);
    }
  };
  return await retry(context.doing, attempt, { transientReason: transientReasonOf, seconds: RETRY_SECONDS, call });
}

/** Requires a method that api-methods.ts names: the bundle includes no others. */
function requireUsedMethod(kind: ComputeClientName, method: string): string {
  if ((API_METHODS[kind] as readonly string[]).includes(method)) return method;
  throw new Error(`api-methods.ts does not name ${method} of ${kind}`);
}

/** Returns the resources of an aggregated list, whose items are pairs of a zone or region and its resources. */
function flattenScopes<T>(item: unknown): readonly T[] {
  if (!Array.isArray(item)) return [item as T];
  const [, scoped] = item as [string, Record<string, unknown>];
  return Object.values(scoped).flatMap((value) => (Array.isArray(value) ? (value as T[]) : []));
}

type ComputeClientLookup = (kind: ComputeClientName) => ComputeClient;

/** The clients of each run of a command, by its signal: the run's requests share clients and their token. */
const clientsByRun = new WeakMap<
  AbortSignal,
  { readonly call: DriverCall; readonly clients: Map<string, Promise<ComputeClientLookup>> }
>();

async function getClients(
  endpoint: URL | undefined,
  credentials: CredentialsSource,
  call: DriverCall,
): Promise<ComputeClientLookup> {
  const known = clientsByRun.get(call.signal);
  const run =
    known?.call.computer === call.computer ? known : { call, clients: new Map<string, Promise<ComputeClientLookup>>() };
  clientsByRun.set(call.signal, run);
  const key = endpoint?.href ?? '';
  const clients = run.clients.get(key) ?? createClients(endpoint, credentials, call);
  run.clients.set(key, clients);
  // A failure, such as of a sign-in, is not kept, so that the next request tries again.
  clients.catch(() => run.clients.delete(key));
  return await clients;
}

async function createClients(
  endpoint: URL | undefined,
  credentials: CredentialsSource,
  call: DriverCall,
): Promise<ComputeClientLookup> {
  const sdk = await import('./sdk.ts');
  const account = await getAuthClient(sdk, credentials, call);
  const clients = new Map<ComputeClientName, ComputeClient>();
  const common = {
    fallback: true,
    auth: createAuthAdapter(
      { account, credentials, agent: await createAgent(call) },
      pathPrefixOf(endpoint),
      call.signal,
    ),
    universeDomain: call.computer.env.GOOGLE_CLOUD_UNIVERSE_DOMAIN || account.universeDomain,
    ...(endpoint === undefined ? {} : endpointConfig(endpoint)),
  };
  return (kind) => {
    const known = clients.get(kind);
    if (known) return known;
    const client = new (sdk[kind] as unknown as new (options: object) => ComputeClient)({ ...common });
    clients.set(kind, client);
    return client;
  };
}

async function getAuthClient(sdk: GceSdk, credentials: CredentialsSource, call: DriverCall): Promise<GoogleAuthClient> {
  try {
    return await rejectOnAbort(createAuthClient(sdk, call), call.signal);
  } catch (error) {
    throw tokenError(error, credentials, call.signal);
  }
}

function endpointConfig({ hostname, port, protocol }: URL): object {
  return {
    apiEndpoint: hostname,
    port: Number(port) || (protocol === 'http:' ? 80 : 443),
    protocol: protocol.replace(':', ''),
  };
}

/** Returns the agent that connects through the proxies of the environment; undefined without a proxy. */
async function createAgent({ computer: { env } }: DriverCall): Promise<Agent | undefined> {
  return hasProxy(env) ? (await import('../../computer/proxy-agent.ts')).createProxyAgent(env) : undefined;
}

/** What sends the clients' requests: an account, and the agent of a proxy. */
type Sender = {
  readonly account: GoogleAuthClient;
  readonly credentials: CredentialsSource;
  readonly agent: Agent | undefined;
};

/**
 * Returns the `auth` of the clients. It sends their requests itself, so that errors keep Google's own status and text.
 */
function createAuthAdapter({ account, credentials, agent }: Sender, prefix: string, signal: AbortSignal): object {
  const headersFor = async (url: string): Promise<Headers> => {
    try {
      return await account.getRequestHeaders(url);
    } catch (error) {
      throw tokenError(error, credentials, signal);
    }
  };
  return {
    universeDomain: account.universeDomain,
    getRequestHeaders: headersFor,
    async fetch(link: string, init: RequestInit & { readonly agent?: unknown }): Promise<Response> {
      const url = new URL(link);
      const headers = new Headers(init.headers);
      for (const [name, value] of await headersFor(url.origin + '/')) headers.set(name, value);
      const { status, data } = await account.transporter.request({
        url: `${url.origin}${prefix}${url.pathname}${url.search}`,
        method: init.method,
        headers,
        ...requestBodyOf(init),
        agent: agent ?? init.agent,
        responseType: 'text',
        validateStatus: () => true,
        signal: AbortSignal.any([
          signal,
          AbortSignal.timeout(REQUEST_TIMEOUT_MS),
          ...(init.signal ? [init.signal] : []),
        ]),
      });
      const text = typeof data === 'string' ? data : '';
      if (status < 200 || status > 299) throw responseError(status, text);
      requireWholeAnswer(text);
      return new Response(text === '' ? '{}' : text, { status: 200 });
    },
  };
}

/** The part of a list's answer that says what the list lacks. */
type ListAnswer = {
  readonly warning?: { readonly code?: unknown };
  readonly unreachables?: readonly string[];
  readonly items?: unknown;
};

/**
 * Refuses an answer that is not JSON, and a list that lacks zones or regions because Google could not ask them. The SDK
 * drops these warnings.
 */
function requireWholeAnswer(text: string): void {
  if (text === '') return;
  const answer = parseJson(text) as ListAnswer | undefined;
  if (answer === undefined) throw foreignAnswerError();
  const isUnreachable = (scoped: unknown): boolean => (scoped as ListAnswer | null)?.warning?.code === 'UNREACHABLE';
  const scopes =
    typeof answer.items === 'object' && !Array.isArray(answer.items) ? Object.entries(answer.items ?? {}) : [];
  const missing = scopes.filter(([, scoped]) => isUnreachable(scoped)).map(([scope]) => scope);
  const places = [...new Set([...(answer.unreachables ?? []), ...missing])];
  if (places.length > 0 || isUnreachable(answer)) throw incompleteListError(places);
}

/**
 * Returns the body without what the clients add to it: an empty string for a call without a body, and an empty map for
 * each map field of a resource, even one that this version of the API does not know.
 */
function requestBodyOf({ body }: RequestInit): { readonly body?: string } {
  const resource: unknown = typeof body === 'string' && body !== '' ? JSON.parse(body) : '';
  if (typeof resource !== 'object' || resource === null) return {};
  const fields = Object.entries(resource).filter(([, value]) => JSON.stringify(value) !== '{}');
  return { body: JSON.stringify(Object.fromEntries(fields)) };
}

async function rejectOnAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw canceledError();
  return await new Promise<T>((resolve, reject) => {
    const stop = (): void => reject(canceledError());
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

export async function withGce<T>(
  options: AccountOptions,
  call: DriverCall,
  work: (gce: GceConnection) => Promise<T>,
): Promise<T> {
  return await work(await connectGce(options, call));
}

/** Returns the last segment of a path or URL. */
export function resourceNameOf(link: string | undefined): string {
  return link?.split('/').at(-1) ?? '';
}

/** Returns a link without its host, since another endpoint may have another host. */
export function toRelativeLink(link: string | undefined): string | undefined {
  return link?.replace(/^https?:\/\/.*?\/compute\/v1\//, '');
}

export const regionOfZone = (zone: string): string => zone.replace(/-[^-]+$/, '');

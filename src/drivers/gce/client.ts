import { retry } from '../cloud/retry.ts';
import { canceledError } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { CALLS, type ComputeClientName } from './api-methods.ts';
import { type GoogleAuthClient, createAuthClient, resolveProject } from './credentials.ts';
import { resolveEndpoint, pathPrefixOf } from './endpoint.ts';
import { tokenError, transientReasonOf, toSlipwayError, responseError, httpStatusOf } from './errors.ts';
import type { GceOptions } from './options.ts';

type GceSdk = typeof import('./sdk.ts');
export type RequestFields = Readonly<Record<string, unknown>>;

export type GceConnection = {
  readonly call: DriverCall;
  readonly project: string;
  /** The endpoint that somebody chose. */
  readonly endpoint: URL | undefined;
  /** One call of the API: what passes by itself is tried again, bounded and told. `before` comes before each try. */
  send<T>(
    doing: string,
    client: ComputeClientName,
    method: string,
    request: RequestFields,
    before?: () => Promise<void>,
  ): Promise<T>;
  /** As `ask`; undefined where there is no such thing. */
  find<T>(doing: string, client: ComputeClientName, method: string, request: RequestFields): Promise<T | undefined>;
  /** All pages of a list; of an aggregated one, the things of all places. */
  list<T>(doing: string, client: ComputeClientName, method: string, request: RequestFields): Promise<readonly T[]>;
};

const RETRY_SECONDS = 60;
const REQUEST_TIMEOUT_MS = 150_000;
// What this driver needs of the client's own retries is one place that tells of them: insist.
const SINGLE_TRY_OPTIONS = { timeout: REQUEST_TIMEOUT_MS, retry: { retryCodes: [] }, autoPaginate: false };

type ComputeClient = Readonly<Record<string, (request: RequestFields, options: object) => Promise<readonly [unknown]>>>;
type PagedComputeClient = Readonly<Record<string, (request: RequestFields, options: object) => AsyncIterable<unknown>>>;

/** The SDK is read here, and only when a machine of this driver is meant. */
export async function connectGce(options: Partial<GceOptions>, call: DriverCall): Promise<GceConnection> {
  const endpoint = await resolveEndpoint(options, call.computer.env);
  const project = options.project ?? (await resolveProject(call));
  const clients = await getClients(endpoint, call);
  const insisting = <T>(doing: string, work: () => Promise<T>): Promise<T> =>
    retry(
      doing,
      async () => {
        try {
          return await rejectOnAbort(work(), call.signal);
        } catch (error) {
          throw toSlipwayError(error, doing, call.signal);
        }
      },
      { transientReason: transientReasonOf, seconds: RETRY_SECONDS, call },
    );
  const send: GceConnection['send'] = <T>(
    ...[doing, kind, method, request, before]: Parameters<GceConnection['send']>
  ): Promise<T> =>
    insisting(doing, async () => {
      await before?.();
      const client = clients(kind);
      const [answer] =
        (await client[requireUsedMethod(kind, method)]?.({ project, ...request }, SINGLE_TRY_OPTIONS)) ?? [];
      return answer as T;
    });
  return {
    call,
    project,
    endpoint,
    send,
    find: async <T>(...wanted: Parameters<GceConnection['send']>) => {
      try {
        return await send<T>(...wanted);
      } catch (error) {
        if (httpStatusOf(error) === 404) return undefined;
        throw error;
      }
    },
    list: <T>(doing: string, kind: ComputeClientName, method: string, request: RequestFields) =>
      insisting(doing, async () => {
        const found: T[] = [];
        const pages = clients(kind) as unknown as PagedComputeClient;
        for await (const item of pages[`${requireUsedMethod(kind, method)}Async`]?.(
          { project, ...request },
          SINGLE_TRY_OPTIONS,
        ) ?? [])
          found.push(...flattenScopes<T>(item));
        return found;
      }),
  };
}

/** The bundle holds no other call. */
function requireUsedMethod(kind: ComputeClientName, method: string): string {
  if ((CALLS[kind] as readonly string[]).includes(method)) return method;
  throw new Error(`calls.ts lacks ${method} of ${kind}`);
}

/** An aggregated list hands out pairs of a place and what is there. */
function flattenScopes<T>(item: unknown): readonly T[] {
  if (!Array.isArray(item)) return [item as T];
  const [, scoped] = item as [string, Record<string, unknown>];
  return Object.values(scoped).flatMap((value) => (Array.isArray(value) ? (value as T[]) : []));
}

type ComputeClientLookup = (kind: ComputeClientName) => ComputeClient;

/** One run of a command is one signal. It asks many times, and a token is good for all of them. */
const clientsByRun = new WeakMap<
  AbortSignal,
  { readonly call: DriverCall; readonly clients: Map<string, Promise<ComputeClientLookup>> }
>();

async function getClients(endpoint: URL | undefined, call: DriverCall): Promise<ComputeClientLookup> {
  const known = clientsByRun.get(call.signal);
  const run =
    known?.call.computer === call.computer ? known : { call, clients: new Map<string, Promise<ComputeClientLookup>>() };
  clientsByRun.set(call.signal, run);
  const key = endpoint?.href ?? '';
  const made = run.clients.get(key) ?? createClients(endpoint, call);
  run.clients.set(key, made);
  // What failed is tried anew.
  made.catch(() => run.clients.delete(key));
  return await made;
}

async function createClients(endpoint: URL | undefined, call: DriverCall): Promise<ComputeClientLookup> {
  const sdk = await import('./sdk.ts');
  const account = await getAuthClient(sdk, call);
  const made = new Map<ComputeClientName, ComputeClient>();
  const common = {
    fallback: true,
    auth: createAuthAdapter(account, pathPrefixOf(endpoint), call.signal),
    universeDomain: call.computer.env.GOOGLE_CLOUD_UNIVERSE_DOMAIN || account.universeDomain,
    ...(endpoint === undefined ? {} : endpointConfig(endpoint)),
  };
  return (kind) => {
    const known = made.get(kind);
    if (known) return known;
    const client = new (sdk[kind] as unknown as new (options: object) => ComputeClient)({ ...common });
    made.set(kind, client);
    return client;
  };
}

async function getAuthClient(sdk: GceSdk, call: DriverCall): Promise<GoogleAuthClient> {
  try {
    return await rejectOnAbort(createAuthClient(sdk, call), call.signal);
  } catch (error) {
    throw tokenError(error, call.signal);
  }
}

function endpointConfig({ hostname, port, protocol }: URL): object {
  return {
    apiEndpoint: hostname,
    port: Number(port) || (protocol === 'http:' ? 80 : 443),
    protocol: protocol.replace(':', ''),
  };
}

/** What the clients ask of `auth`: it sends their requests, so Google's own status and words reach us as they are. */
function createAuthAdapter(account: GoogleAuthClient, prefix: string, signal: AbortSignal): object {
  const headersFor = async (url: string): Promise<Headers> => {
    try {
      return await account.getRequestHeaders(url);
    } catch (error) {
      throw tokenError(error, signal);
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
        agent: init.agent,
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
      return new Response(text === '' ? '{}' : text, { status: 200 });
    },
  };
}

/**
 * What was asked for and no more: of a call without a body the clients make an empty text, and they send each map that a resource may
 * have, empty, whether this version of the API knows it or not.
 */
function requestBodyOf({ body }: RequestInit): { readonly body?: string } {
  const resource: unknown = typeof body === 'string' && body !== '' ? JSON.parse(body) : '';
  if (typeof resource !== 'object' || resource === null) return {};
  const given = Object.entries(resource).filter(([, value]) => JSON.stringify(value) !== '{}');
  return { body: JSON.stringify(Object.fromEntries(given)) };
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
  options: Partial<GceOptions>,
  call: DriverCall,
  work: (gce: GceConnection) => Promise<T>,
): Promise<T> {
  return await work(await connectGce(options, call));
}

/** The last word of a path or URL. */
export function resourceNameOf(link: string | undefined): string {
  return link?.split('/').at(-1) ?? '';
}

/** A link without its host, which another endpoint need not know. */
export function toRelativeLink(link: string | undefined): string | undefined {
  return link?.replace(/^https?:\/\/.*?\/compute\/v1\//, '');
}

export const regionOfZone = (zone: string): string => zone.replace(/-[^-]+$/, '');

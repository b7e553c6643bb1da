import { insist } from '../cloud/retry.ts';
import { canceled } from '../../errors.ts';
import type { Call } from '../contract.ts';
import { CALLS, type Kind } from './calls.ts';
import { type Account, accountOf, projectOf } from './credentials.ts';
import { endpointOf, prefixOf } from './endpoint.ts';
import { noToken, passing, refusal, refusedBy, statusOf } from './errors.ts';
import type { Options } from './options.ts';

type Sdk = typeof import('./sdk.ts');
export type Fields = Readonly<Record<string, unknown>>;

export type Gce = {
  readonly call: Call;
  readonly project: string;
  /** The endpoint that somebody chose. */
  readonly endpoint: URL | undefined;
  /** One call of the API: what passes by itself is tried again, bounded and told. `before` comes before each try. */
  ask<T>(doing: string, client: Kind, method: string, request: Fields, before?: () => Promise<void>): Promise<T>;
  /** As `ask`; undefined where there is no such thing. */
  find<T>(doing: string, client: Kind, method: string, request: Fields): Promise<T | undefined>;
  /** All pages of a list; of an aggregated one, the things of all places. */
  list<T>(doing: string, client: Kind, method: string, request: Fields): Promise<readonly T[]>;
};

const TRY_SECONDS = 60;
const ANSWER_MS = 150_000;
// What this driver needs of the client's own retries is one place that tells of them: insist.
const ONCE = { timeout: ANSWER_MS, retry: { retryCodes: [] }, autoPaginate: false };

type Client = Readonly<Record<string, (request: Fields, options: object) => Promise<readonly [unknown]>>>;
type Pages = Readonly<Record<string, (request: Fields, options: object) => AsyncIterable<unknown>>>;

/** The SDK is read here, and only when a machine of this driver is meant. */
export async function connectGce(options: Partial<Options>, call: Call): Promise<Gce> {
  const endpoint = await endpointOf(options, call.computer.env);
  const project = options.project ?? (await projectOf(call));
  const clients = await clientsOf(endpoint, call);
  const insisting = <T>(doing: string, work: () => Promise<T>): Promise<T> =>
    insist(
      doing,
      async () => {
        try {
          return await untilStopped(work(), call.signal);
        } catch (error) {
          throw refusal(error, doing, call.signal);
        }
      },
      { passing, seconds: TRY_SECONDS, call },
    );
  const ask: Gce['ask'] = <T>(...[doing, kind, method, request, before]: Parameters<Gce['ask']>): Promise<T> =>
    insisting(doing, async () => {
      await before?.();
      const client = clients(kind);
      const [answer] = (await client[known(kind, method)]?.({ project, ...request }, ONCE)) ?? [];
      return answer as T;
    });
  return {
    call,
    project,
    endpoint,
    ask,
    find: async <T>(...wanted: Parameters<Gce['ask']>) => {
      try {
        return await ask<T>(...wanted);
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    },
    list: <T>(doing: string, kind: Kind, method: string, request: Fields) =>
      insisting(doing, async () => {
        const found: T[] = [];
        const pages = clients(kind) as unknown as Pages;
        for await (const item of pages[`${known(kind, method)}Async`]?.({ project, ...request }, ONCE) ?? [])
          found.push(...inPlaces<T>(item));
        return found;
      }),
  };
}

/** The bundle holds no other call. */
function known(kind: Kind, method: string): string {
  if ((CALLS[kind] as readonly string[]).includes(method)) return method;
  throw new Error(`calls.ts lacks ${method} of ${kind}`);
}

/** An aggregated list hands out pairs of a place and what is there. */
function inPlaces<T>(item: unknown): readonly T[] {
  if (!Array.isArray(item)) return [item as T];
  const [, scoped] = item as [string, Record<string, unknown>];
  return Object.values(scoped).flatMap((value) => (Array.isArray(value) ? (value as T[]) : []));
}

type Clients = (kind: Kind) => Client;

/** One run of a command is one signal. It asks many times, and a token is good for all of them. */
const runs = new WeakMap<AbortSignal, { readonly call: Call; readonly clients: Map<string, Promise<Clients>> }>();

async function clientsOf(endpoint: URL | undefined, call: Call): Promise<Clients> {
  const known = runs.get(call.signal);
  const run = known?.call.computer === call.computer ? known : { call, clients: new Map<string, Promise<Clients>>() };
  runs.set(call.signal, run);
  const key = endpoint?.href ?? '';
  const made = run.clients.get(key) ?? clientsFor(endpoint, call);
  run.clients.set(key, made);
  // What failed is tried anew.
  made.catch(() => run.clients.delete(key));
  return await made;
}

async function clientsFor(endpoint: URL | undefined, call: Call): Promise<Clients> {
  const sdk = await import('./sdk.ts');
  const account = await accountFor(sdk, call);
  const made = new Map<Kind, Client>();
  const common = {
    fallback: true,
    auth: authOver(account, prefixOf(endpoint), call.signal),
    universeDomain: call.computer.env.GOOGLE_CLOUD_UNIVERSE_DOMAIN || account.universeDomain,
    ...(endpoint === undefined ? {} : placeOf(endpoint)),
  };
  return (kind) => {
    const known = made.get(kind);
    if (known) return known;
    const client = new (sdk[kind] as unknown as new (options: object) => Client)({ ...common });
    made.set(kind, client);
    return client;
  };
}

async function accountFor(sdk: Sdk, call: Call): Promise<Account> {
  try {
    return await untilStopped(accountOf(sdk, call), call.signal);
  } catch (error) {
    throw noToken(error, call.signal);
  }
}

function placeOf({ hostname, port, protocol }: URL): object {
  return {
    apiEndpoint: hostname,
    port: Number(port) || (protocol === 'http:' ? 80 : 443),
    protocol: protocol.replace(':', ''),
  };
}

/** What the clients ask of `auth`: it sends their requests, so Google's own status and words reach us as they are. */
function authOver(account: Account, prefix: string, signal: AbortSignal): object {
  const headersFor = async (url: string): Promise<Headers> => {
    try {
      return await account.getRequestHeaders(url);
    } catch (error) {
      throw noToken(error, signal);
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
        ...bodyOf(init),
        agent: init.agent,
        responseType: 'text',
        validateStatus: () => true,
        signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS), ...(init.signal ? [init.signal] : [])]),
      });
      const text = typeof data === 'string' ? data : '';
      if (status < 200 || status > 299) throw refusedBy(status, text);
      return new Response(text === '' ? '{}' : text, { status: 200 });
    },
  };
}

/**
 * What was asked for and no more: of a call without a body the clients make an empty text, and they send each map that a resource may
 * have, empty, whether this version of the API knows it or not.
 */
function bodyOf({ body }: RequestInit): { readonly body?: string } {
  const resource: unknown = typeof body === 'string' && body !== '' ? JSON.parse(body) : '';
  if (typeof resource !== 'object' || resource === null) return {};
  const given = Object.entries(resource).filter(([, value]) => JSON.stringify(value) !== '{}');
  return { body: JSON.stringify(Object.fromEntries(given)) };
}

async function untilStopped<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw canceled();
  return await new Promise<T>((resolve, reject) => {
    const stop = (): void => reject(canceled());
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

export async function withGce<T>(options: Partial<Options>, call: Call, work: (gce: Gce) => Promise<T>): Promise<T> {
  return await work(await connectGce(options, call));
}

/** The last word of a path or URL. */
export function nameIn(link: string | undefined): string {
  return link?.split('/').at(-1) ?? '';
}

/** A link without its host, which another endpoint need not know. */
export function relative(link: string | undefined): string | undefined {
  return link?.replace(/^https?:\/\/.*?\/compute\/v1\//, '');
}

export const regionOf = (zone: string): string => zone.replace(/-[^-]+$/, '');

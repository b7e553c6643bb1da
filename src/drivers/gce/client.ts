import { isPrivate } from '../../cloud/caller-address.ts';
import { insist, pauseFor } from '../../cloud/insist.ts';
import { canceled, SlipwayError } from '../../errors.ts';
import type { Call, MakingCall } from '../driver.ts';
import { isCapacity, operationFailed, passing, refusal, statusOf } from './errors.ts';
import { requestId } from './names.ts';
import type { Options } from './options.ts';

type Sdk = typeof import('./sdk.ts');
type Kind = keyof Sdk;
type Fields = Readonly<Record<string, unknown>>;

/** As far as we read it. The package's own types of it are 32 MB of text. */
export type Operation = {
  readonly name?: string;
  readonly status?: string | number;
  readonly zone?: string;
  readonly region?: string;
  readonly insertTime?: string;
  readonly error?: { readonly errors?: readonly { readonly code?: string; readonly message?: string }[] };
};

export type Gce = {
  readonly call: Call;
  readonly project: string;
  /** The endpoint that somebody chose. */
  readonly endpoint: URL | undefined;
  /** One call of the API: what passes by itself is tried again, bounded and told. */
  ask<T>(doing: string, client: Kind, method: string, request: Fields): Promise<T>;
  /** As `ask`; undefined where there is no such thing. */
  find<T>(doing: string, client: Kind, method: string, request: Fields): Promise<T | undefined>;
  /** All pages of a list; of an aggregated one, the things of all places. */
  list<T>(doing: string, client: Kind, method: string, request: Fields): Promise<readonly T[]>;
  close(): Promise<void>;
};

const TRY_SECONDS = 60;
const ANSWER_MS = 150_000;
const ATTEMPTS = 8;

type AnyClient = Readonly<Record<string, (request: Fields, options: object) => Promise<readonly [unknown]>>> & {
  close(): Promise<void>;
};

/** The SDK is read here, and only when a machine of this driver is meant. */
export async function connectGce(options: Partial<Options>, call: Call): Promise<Gce> {
  const sdk = await import('./sdk.ts');
  const endpoint = endpointOf(options);
  const clients = new Map<Kind, AnyClient>();
  const auth: { client?: unknown } = {};
  const clientOf = (kind: Kind): AnyClient => {
    const known = clients.get(kind);
    if (known) return known;
    const Client = sdk[kind] as unknown as new (options: object) => AnyClient & { auth: unknown };
    const token = call.computer.env.CLOUDSDK_AUTH_ACCESS_TOKEN || call.computer.env.GOOGLE_OAUTH_ACCESS_TOKEN;
    const made = new Client({
      fallback: true,
      // One way to the credentials for all.
      ...(auth.client === undefined ? {} : { auth: auth.client }),
      ...(token ? { authClient: bearer(token) } : {}),
      ...(endpoint === undefined
        ? {}
        : {
            apiEndpoint: endpoint.hostname,
            port: Number(endpoint.port) || (endpoint.protocol === 'http:' ? 80 : 443),
            protocol: endpoint.protocol.replace(':', ''),
          }),
    });
    auth.client = made.auth;
    clients.set(kind, made);
    return made;
  };
  // What this driver needs of the client's own retries is one place that tells of them: insist.
  const once = { timeout: ANSWER_MS, retry: { retryCodes: [] } };
  const ask = async <T>(doing: string, kind: Kind, method: string, request: Fields): Promise<T> =>
    await insist(
      doing,
      async () => {
        try {
          const client = clientOf(kind);
          const work = client[method]?.bind(client);
          if (!work) throw new Error(`${kind} has no ${method}`);
          const [answer] = await untilStopped(work({ project, ...request }, once), call.signal);
          return answer as T;
        } catch (error) {
          throw refusal(error, doing, call.signal);
        }
      },
      { passing, seconds: TRY_SECONDS, call },
    );
  let project = options.project ?? '';
  if (project === '') project = await projectOf(clientOf('ZonesClient'), call);
  return {
    call,
    project,
    endpoint,
    ask,
    async find<T>(...wanted: Parameters<Gce['ask']>) {
      try {
        return await ask<T>(...wanted);
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    },
    async list<T>(doing: string, kind: Kind, method: string, request: Fields) {
      return await insist(
        doing,
        async () => {
          try {
            const client = clientOf(kind) as unknown as Record<
              string,
              (request: Fields, options: object) => AsyncIterable<unknown>
            >;
            const found: T[] = [];
            for await (const item of client[`${method}Async`]?.({ project, ...request }, once) ?? [])
              found.push(...inPlaces<T>(item));
            return found;
          } catch (error) {
            throw refusal(error, doing, call.signal);
          }
        },
        { passing, seconds: TRY_SECONDS, call },
      );
    },
    async close() {
      for (const client of clients.values()) await client.close();
    },
  };
}

/** An aggregated list hands out pairs of a place and what is there. */
function inPlaces<T>(item: unknown): readonly T[] {
  if (!Array.isArray(item)) return [item as T];
  const [, scoped] = item as [string, Record<string, unknown>];
  return Object.values(scoped).flatMap((value) => (Array.isArray(value) ? (value as T[]) : []));
}

/** Who has a token already, as CI has, needs no chain. */
function bearer(token: string): object {
  const headers = new Headers({ authorization: `Bearer ${token}` });
  return {
    getRequestHeaders: async () => headers,
    getAccessToken: async () => ({ token }),
    request: async () => {
      throw new Error('a bearer of a token requests nothing');
    },
  };
}

async function untilStopped<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw canceled();
  return await new Promise<T>((resolve, reject) => {
    const stop = (): void => reject(canceled());
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

function endpointOf({ endpoint }: Partial<Options>): URL | undefined {
  if (endpoint === undefined) return undefined;
  const url = new URL(endpoint);
  if (url.protocol === 'https:' || url.hostname === 'localhost' || isPrivate(url.hostname)) return url;
  throw new SlipwayError('USAGE', `${endpoint} would carry your token in the clear`, {
    hint: 'Use https://, or an endpoint on this computer or in a private network: --gce-endpoint',
  });
}

async function projectOf(client: AnyClient, call: Call): Promise<string> {
  const { env } = call.computer;
  const named = env.GOOGLE_CLOUD_PROJECT || env.GCLOUD_PROJECT || env.CLOUDSDK_CORE_PROJECT;
  if (named) return named;
  const { getProjectId } = client as unknown as { getProjectId(): Promise<string> };
  try {
    return await untilStopped(getProjectId.call(client), call.signal);
  } catch (error) {
    const told = refusal(error, 'finding the project', call.signal);
    if (told instanceof SlipwayError && told.code !== 'PROVIDER_REFUSED' && !/project/i.test(String(error))) throw told;
    throw new SlipwayError(
      'USAGE',
      'No Google Cloud project is chosen: neither --gce-project nor your settings name one',
      {
        hint: 'Add --gce-project my-project-42, or set GOOGLE_CLOUD_PROJECT',
        cause: error,
      },
    );
  }
}

export async function withGce<T>(options: Partial<Options>, call: Call, work: (gce: Gce) => Promise<T>): Promise<T> {
  const gce = await connectGce(options, call);
  try {
    return await work(gce);
  } finally {
    await gce.close();
  }
}

/** The last word of a path or URL. */
export function nameIn(link: string | undefined): string {
  return link?.split('/').at(-1) ?? '';
}

export const regionOf = (zone: string): string => zone.replace(/-[^-]+$/, '');

/** Starts a change and waits for its end; what does not exist (any more) ends at once. */
export async function change(
  gce: Gce,
  doing: string,
  client: Kind,
  method: string,
  request: Fields,
): Promise<'done' | 'missing'> {
  const started = await gce.find<unknown>(doing, client, method, request);
  if (started === undefined) return 'missing';
  const { error } = await finished(gce, doing, started);
  const [first] = error?.errors ?? [];
  if (first === undefined) return 'done';
  if (/RESOURCE_NOT_FOUND/.test(first.code ?? '')) return 'missing';
  throw operationFailed(first, doing, String(request.zone ?? ''));
}

async function finished(gce: Gce, doing: string, started: unknown): Promise<Operation> {
  let operation = plain(started);
  while (operation.status !== 'DONE') {
    const { name = '', zone, region } = operation;
    const [client, place] =
      zone !== undefined && zone !== ''
        ? (['ZoneOperationsClient', { zone: nameIn(zone) }] as const)
        : region !== undefined && region !== ''
          ? (['RegionOperationsClient', { region: nameIn(region) }] as const)
          : (['GlobalOperationsClient', {}] as const);
    operation = plain(await gce.ask(doing, client, 'wait', { operation: name, ...place }));
  }
  return operation;
}

const STATUS: Readonly<Record<number, string>> = { 2104194: 'DONE', 35394935: 'PENDING', 121282975: 'RUNNING' };

/** A long-running call hands out the operation within an envelope; enums may come as their numbers. */
function plain(started: unknown): Operation {
  const { latestResponse, ...rest } = started as { latestResponse?: Operation } & Operation;
  const operation = latestResponse ?? rest;
  const { status } = operation;
  return { ...operation, status: typeof status === 'number' ? (STATUS[status] ?? '') : (status ?? '') };
}

export type Making = {
  /** What it is, for people and for the record: `firewall`. */
  readonly what: string;
  readonly mark: string;
  readonly client: Kind;
  readonly method: string;
  readonly request: Fields;
  /** Rejects when what is there under the name is somebody else's. */
  readonly isThere: () => Promise<boolean>;
  readonly zone: string;
};

/**
 * Makes a thing once, however often it is asked for: a wish has an id of its own, by which Google knows it again, and a name that
 * only one thing has. A wish that failed before is answered by its old failure, so the next one has another id.
 */
export async function makeOnce(gce: Gce, making: Making, call: MakingCall): Promise<void> {
  const doing = `making its ${making.what}`;
  const began = Date.now();
  await call.asking(making.what);
  for (let attempt = 1; ; attempt += 1) {
    const id = requestId(making.mark, making.what, attempt);
    try {
      const started = await gce.ask<unknown>(doing, making.client, making.method, { ...making.request, requestId: id });
      const operation = await finished(gce, doing, started);
      const [error] = operation.error?.errors ?? [];
      if (error === undefined) return;
      if (/ALREADY_EXISTS/.test(error.code ?? '') && (await making.isThere())) return;
      const old = Date.parse(operation.insertTime ?? '') < began - 5000;
      if (attempt >= ATTEMPTS || !(old || isCapacity(error.code ?? '')))
        throw operationFailed(error, doing, making.zone);
      if (old) continue;
      call.note(`${doing}: Compute Engine has no room in ${making.zone} (${error.code}); trying again`);
      await pauseFor(Math.min(1000 * 2 ** attempt, 15_000), call.signal);
    } catch (error) {
      if (statusOf(error) === 409 && (await making.isThere())) return;
      throw error;
    }
  }
}

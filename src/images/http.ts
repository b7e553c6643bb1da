import { setTimeout as sleep } from 'node:timers/promises';
import { canceledError, SlipwayError } from '../errors.ts';
import type { Log } from '../progress.ts';

/** How long what a network does wrong is borne. */
export type DownloadRetryPolicy = {
  /** Without a byte for so long, a connection counts as dropped. */
  readonly stallMilliseconds: number;
  /** Attempts that bring nothing new, before we give up. */
  readonly attempts: number;
  /** Before the second attempt; twice as long before each further one. */
  readonly pauseMilliseconds: number;
};

export const DEFAULT_RETRY_POLICY: DownloadRetryPolicy = {
  stallMilliseconds: 30_000,
  attempts: 6,
  pauseMilliseconds: 500,
};
const MAX_PAUSE_MILLISECONDS = 15_000;

/** What may go better the next time: a connection that dropped, a server that is busy. */
export class TransientNetworkError extends Error {}

export type HttpResponse = {
  readonly status: number;
  readonly headers: Headers;
  /** After all redirects. */
  readonly url: string;
  /** Throws `Dropped` where nothing comes for too long or the connection breaks. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Lets the connection go, whatever it still holds. */
  close(): void;
};

/** One GET. 5xx and 429 are `Dropped`; other refusals are answers. */
export async function httpGet(
  url: string,
  headers: Readonly<Record<string, string>>,
  how: { readonly signal: AbortSignal; readonly patience: DownloadRetryPolicy },
): Promise<HttpResponse> {
  const { signal, patience } = how;
  const attempt = new AbortController();
  /** The clock runs only while we wait for the network, not while we write to a slow disk. */
  const inTime = async <T>(work: () => Promise<T>): Promise<T> => {
    const timer = setTimeout(() => attempt.abort(), patience.stallMilliseconds);
    try {
      return await work();
    } catch (error) {
      if (signal.aborted) throw canceledError();
      const seconds = patience.stallMilliseconds / 1000;
      throw new TransientNetworkError(
        attempt.signal.aborted ? `nothing came for ${seconds} s` : networkReasonOf(error),
        { cause: error },
      );
    } finally {
      clearTimeout(timer);
    }
  };
  const response = await inTime(() =>
    // A packed body has another length, and no ranges.
    fetch(url, {
      headers: { 'accept-encoding': 'identity', ...headers },
      signal: AbortSignal.any([signal, attempt.signal]),
    }),
  );
  const close = (): void => attempt.abort();
  if (response.status >= 500 || [408, 429].includes(response.status)) {
    close();
    throw new TransientNetworkError(`the server answered ${statusOf(response)}`);
  }
  return {
    status: response.status,
    headers: response.headers,
    url: response.url,
    close,
    chunks: (async function* () {
      const reader = response.body?.getReader();
      for (;;) {
        const next = await inTime(async () => reader?.read());
        if (next?.value === undefined) return;
        yield next.value;
      }
    })(),
  };
}

/**
 * Does it again while it is `Dropped`, with growing pauses. An attempt that got further than all before it starts the count
 * anew: a bad line with a large file drops often, and ends.
 */
export async function retryDownload<T>(
  what: string,
  how: {
    readonly signal: AbortSignal;
    readonly patience: DownloadRetryPolicy;
    readonly log: Log;
    readonly reached?: () => number;
  },
  work: () => Promise<T>,
): Promise<T> {
  const { signal, patience, log } = how;
  let furthest = how.reached?.() ?? 0;
  for (let failures = 1; ; failures += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof TransientNetworkError)) throw error;
      const reached = how.reached?.() ?? 0;
      if (reached > furthest) failures = 1;
      furthest = Math.max(furthest, reached);
      if (failures >= patience.attempts) throw gaveUpError(what, error, failures);
      const pause = Math.min(MAX_PAUSE_MILLISECONDS, patience.pauseMilliseconds * 2 ** (failures - 1));
      log(`${error.message}; retrying in ${(pause / 1000).toFixed(1)} s`);
      await sleep(pause, undefined, { signal }).catch(() => {
        throw canceledError();
      });
    }
  }
}

/** A refusal that will be the same the next time. */
export function downloadRefusedError(url: string, { status }: Pick<HttpResponse, 'status'>): SlipwayError {
  const there = status === 404 || status === 410 ? 'the file does not exist' : `the server answered ${status}`;
  return new SlipwayError('DOWNLOAD', `${url} could not be downloaded: ${there}`, {
    hint: 'Open that address in a browser: the file may have moved',
  });
}

function gaveUpError(url: string, error: TransientNetworkError, failures: number): SlipwayError {
  return new SlipwayError('DOWNLOAD', `${url} could not be downloaded: ${error.message} (${failures} attempts)`, {
    hint: 'The downloaded part is kept. To continue, run the same command again. Behind a proxy, download the file another way and pass its path instead of the URL',
    cause: error,
  });
}

/** fetch hides what happened in the cause. */
function networkReasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  const words: Readonly<Record<string, string>> = {
    ECONNREFUSED: 'the connection was refused',
    ECONNRESET: 'the connection was reset',
    ENOTFOUND: 'the host name does not exist',
    EAI_AGAIN: 'the host name could not be looked up',
    UND_ERR_SOCKET: 'the connection broke',
    UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the connection broke',
  };
  return words[code] ?? (cause.message || code);
}

function statusOf({ status, statusText }: Response): string {
  return `${status} ${statusText}`.trim();
}

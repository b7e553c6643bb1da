import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasProxy, type ProxyEnvironment } from '../computer/proxy.ts';
import { canceledError, networkReasonOf, SlipwayError, systemCode } from '../errors.ts';
import type { Log } from '../progress.ts';

/** How long network failures are tolerated. */
export type DownloadRetryPolicy = {
  /** A connection that delivers no byte for this long counts as dropped. */
  readonly stallMilliseconds: number;
  /** Consecutive attempts without progress before the download fails. */
  readonly attempts: number;
  /** The pause before the second attempt. It doubles before each further one. */
  readonly pauseMilliseconds: number;
};

export const DEFAULT_RETRY_POLICY: DownloadRetryPolicy = {
  stallMilliseconds: 30_000,
  attempts: 6,
  pauseMilliseconds: 500,
};
const MAX_PAUSE_MILLISECONDS = 15_000;

/** A failure that a retry may overcome: a dropped connection or a busy server. */
export class TransientNetworkError extends Error {}

export type HttpResponse = {
  readonly status: number;
  readonly headers: Headers;
  /** The URL after all redirects. */
  readonly url: string;
  /** Throws TransientNetworkError if no data arrives for too long or the connection breaks. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Closes the connection and discards unread data. */
  close(): void;
};

/** Sends one GET request. Throws TransientNetworkError for 5xx, 408 and 429; returns other responses, refusals too. */
export async function httpGet(
  url: string,
  headers: Readonly<Record<string, string>>,
  options: {
    readonly signal: AbortSignal;
    readonly retryPolicy: DownloadRetryPolicy;
    readonly env?: ProxyEnvironment | undefined;
  },
): Promise<HttpResponse> {
  const { signal, retryPolicy, env = {} } = options;
  const attempt = new AbortController();
  /** Limits only the time spent waiting for the network, not for a slow disk. */
  const withStallTimeout = async <T>(work: () => Promise<T>): Promise<T> => {
    const timer = setTimeout(() => attempt.abort(), retryPolicy.stallMilliseconds);
    try {
      return await work();
    } catch (error) {
      if (signal.aborted) throw canceledError();
      const seconds = retryPolicy.stallMilliseconds / 1000;
      throw new TransientNetworkError(
        attempt.signal.aborted ? `no data arrived for ${seconds} s` : transferReasonOf(error),
        { cause: error },
      );
    } finally {
      clearTimeout(timer);
    }
  };
  const response = await withStallTimeout(() =>
    // A compressed response has another length and does not support ranges.
    fetchThroughProxy(url, env, {
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
        const next = await withStallTimeout(async () => reader?.read());
        if (next?.value === undefined) return;
        yield next.value;
      }
    })(),
  };
}

/** Works as `fetch` does, but through the proxy of the environment, which `fetch` ignores. */
async function fetchThroughProxy(
  url: string,
  env: ProxyEnvironment,
  init: { readonly headers: Record<string, string>; readonly signal: AbortSignal },
): Promise<Response> {
  if (!hasProxy(env)) return await fetch(url, init);
  const [{ default: nodeFetch }, { createProxyAgent }] = await Promise.all([
    import('node-fetch'),
    import('../computer/proxy-agent.ts'),
  ]);
  const agent = createProxyAgent(env);
  const { body, ...response } = await nodeFetch(url, { ...init, agent }).then((answer) => ({
    body: answer.body,
    status: answer.status,
    statusText: answer.statusText,
    url: answer.url,
    headers: new Headers([...answer.headers]),
  }));
  const stream = body === null ? null : (Readable.toWeb(Readable.from(body)) as ReadableStream);
  return Object.defineProperty(new Response(stream, response), 'url', { value: response.url });
}

/**
 * Retries `work` while it throws TransientNetworkError, with growing pauses. An attempt that received more bytes than
 * all earlier ones resets the count: on a bad line a large file may drop often and still complete.
 */
export async function retryDownload<T>(
  url: string,
  options: {
    readonly signal: AbortSignal;
    readonly retryPolicy: DownloadRetryPolicy;
    readonly log: Log;
    readonly bytesReceived?: () => number;
  },
  work: () => Promise<T>,
): Promise<T> {
  const { signal, retryPolicy, log, bytesReceived } = options;
  let maxReceived = bytesReceived?.() ?? 0;
  for (let failures = 1; ; failures += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof TransientNetworkError)) throw error;
      const received = bytesReceived?.() ?? 0;
      if (received > maxReceived) failures = 1;
      maxReceived = Math.max(maxReceived, received);
      if (failures >= retryPolicy.attempts) throw downloadFailedError(url, error, failures);
      const pause = Math.min(MAX_PAUSE_MILLISECONDS, retryPolicy.pauseMilliseconds * 2 ** (failures - 1));
      log(`${error.message}; retrying in ${(pause / 1000).toFixed(1)} s`);
      await sleep(pause, undefined, { signal }).catch(() => {
        throw canceledError();
      });
    }
  }
}

/** Returns the error for a response that a retry would not change. */
export function downloadRefusedError(url: string, { status }: Pick<HttpResponse, 'status'>): SlipwayError {
  const reason = status === 404 || status === 410 ? 'the file does not exist' : `the server answered ${status}`;
  return new SlipwayError('DOWNLOAD', `${url} could not be downloaded: ${reason}`, {
    hint: 'Open the URL in a browser: the file may have moved',
  });
}

function downloadFailedError(url: string, error: TransientNetworkError, failures: number): SlipwayError {
  return new SlipwayError('DOWNLOAD', `${url} could not be downloaded: ${error.message} (${failures} attempts)`, {
    hint: 'The downloaded part is kept. To continue, run the same command again.',
    cause: error,
  });
}

/** Returns why a transfer failed. fetch hides the reason in the error's cause. */
function transferReasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return /^UND_ERR_(SOCKET|RES_CONTENT_LENGTH_MISMATCH)$/.test(systemCode(cause) ?? '')
    ? 'the connection broke'
    : networkReasonOf(cause);
}

function statusOf({ status, statusText }: Response): string {
  return `${status} ${statusText}`.trim();
}

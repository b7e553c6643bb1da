import type { ProxyEnvironment } from '../computer/proxy.ts';
import { SlipwayError } from '../errors.ts';
import type { Log } from '../progress.ts';
import { parseDigest } from './digest.ts';
import {
  httpGet,
  DEFAULT_RETRY_POLICY,
  downloadRefusedError,
  retryDownload,
  type DownloadRetryPolicy,
} from './http.ts';

const MAX_LIST_BYTES = 1_000_000;

/**
 * Returns the digest that a vendor publishes for a file, from the SHA512SUMS (or SHA256SUMS) beside it. Only TLS
 * vouches for the list, so it must come over https; plain http is accepted from this computer only.
 */
export async function fetchPublishedDigest(
  url: string,
  file: string,
  call: {
    readonly signal: AbortSignal;
    readonly log: Log;
    readonly retryPolicy?: DownloadRetryPolicy;
    readonly env?: ProxyEnvironment;
  },
): Promise<string> {
  requireSecureUrl(url);
  const options = { retryPolicy: DEFAULT_RETRY_POLICY, ...call };
  const text = await retryDownload(url, options, async () => {
    const response = await httpGet(url, {}, options);
    try {
      // A redirect must not leave TLS.
      requireSecureUrl(response.url);
      if (response.status !== 200) throw downloadRefusedError(url, response);
      const parts: Uint8Array[] = [];
      let bytes = 0;
      for await (const chunk of response.chunks) {
        parts.push(chunk);
        if ((bytes += chunk.length) > MAX_LIST_BYTES)
          throw unusableDigestListError(url, 'it is too large for a list of digests');
      }
      return Buffer.concat(parts).toString('utf8');
    } finally {
      response.close();
    }
  });
  return parseDigestList(text, url, file);
}

/** Finds a file in lines as sha512sum writes them: digits, two spaces or a space and an asterisk, the name. */
function parseDigestList(text: string, url: string, file: string): string {
  const matches = text.split('\n').map((line) => /^([0-9a-f]+) [ *](?:\.\/)?(.+?)\r?$/i.exec(line));
  const hex = matches.find((match) => match?.[2] === file)?.[1];
  if (hex === undefined) throw unusableDigestListError(url, `it has no line for ${file}`);
  try {
    return parseDigest(hex);
  } catch (error) {
    throw unusableDigestListError(url, `its line for ${file} has no valid digest`, error);
  }
}

function requireSecureUrl(url: string): void {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || (protocol === 'http:' && ['127.0.0.1', 'localhost', '[::1]'].includes(hostname))) return;
  throw unusableDigestListError(url, 'a list of digests must come over https');
}

function unusableDigestListError(url: string, why: string, cause?: unknown): SlipwayError {
  return new SlipwayError('DOWNLOAD', `The digests at ${url} can't be used: ${why}`, {
    hint: 'Pass the digest yourself: slipway image pull --url … --digest sha512:…',
    cause,
  });
}

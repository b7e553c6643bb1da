import { SlipwayError } from '../errors.ts';
import type { Log } from '../progress.ts';
import { parseDigest } from './digest.ts';
import { get, PATIENCE, refused, retrying, type Patience } from './http.ts';

const LARGEST_LIST = 1_000_000;

/**
 * The digest that a vendor publishes for a file, from the SHA512SUMS (or SHA256SUMS) beside it. All that vouches for the list is TLS, so
 * it comes over https; plain http is taken from this computer only.
 */
export async function publishedDigest(
  url: string,
  file: string,
  call: { readonly signal: AbortSignal; readonly log: Log; readonly patience?: Patience },
): Promise<string> {
  mustBeSecure(url);
  const how = { patience: PATIENCE, ...call };
  const text = await retrying(url, how, async () => {
    const answer = await get(url, {}, how);
    try {
      // A redirect must not lead out of TLS.
      mustBeSecure(answer.url);
      if (answer.status !== 200) throw refused(url, answer);
      const parts: Uint8Array[] = [];
      let bytes = 0;
      for await (const chunk of answer.chunks) {
        parts.push(chunk);
        if ((bytes += chunk.length) > LARGEST_LIST) throw unusable(url, 'it is far too long to be a list of digests');
      }
      return Buffer.concat(parts).toString('utf8');
    } finally {
      answer.close();
    }
  });
  return digestIn(text, url, file);
}

/** Lines as sha512sum writes them: digits, two blanks or a blank and a star, the name. */
function digestIn(text: string, url: string, file: string): string {
  const names = text.split('\n').map((line) => /^([0-9a-f]+) [ *](?:\.\/)?(.+?)\r?$/i.exec(line));
  const hex = names.find((match) => match?.[2] === file)?.[1];
  if (hex === undefined) throw unusable(url, `it has no line for ${file}`);
  try {
    return parseDigest(hex);
  } catch (error) {
    throw unusable(url, `its line for ${file} holds no digest`, error);
  }
}

function mustBeSecure(url: string): void {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || (protocol === 'http:' && ['127.0.0.1', 'localhost', '[::1]'].includes(hostname))) return;
  throw unusable(url, 'a list of digests is believed over https only');
}

function unusable(url: string, why: string, cause?: unknown): SlipwayError {
  return new SlipwayError('DOWNLOAD', `The digests at ${url} can't be used: ${why}`, {
    hint: 'Give the digest yourself: slipway image pull --url … --digest sha512:…',
    cause,
  });
}

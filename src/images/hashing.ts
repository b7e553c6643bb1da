import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { canceledError } from '../errors.ts';

const CHUNK_BYTES = 1024 * 1024;

/** Feeds the first `bytes` bytes of a file to a hash. */
export async function hashInto(
  hash: Hash,
  path: string,
  bytes: number,
  options: { readonly signal: AbortSignal; readonly done?: (bytes: number) => void },
): Promise<void> {
  if (bytes === 0) return;
  let done = 0;
  try {
    await pipeline(
      createReadStream(path, { end: bytes - 1, highWaterMark: CHUNK_BYTES }),
      async (chunks: AsyncIterable<Buffer>) => {
        for await (const chunk of chunks) {
          hash.update(chunk);
          options.done?.((done += chunk.length));
        }
      },
      { signal: options.signal },
    );
  } catch (error) {
    throw options.signal.aborted ? canceledError() : error;
  }
}

export async function hashFile(
  path: string,
  algorithm: 'sha256' | 'sha512' | 'blake2b512',
  options: { readonly signal: AbortSignal; readonly done?: (bytes: number) => void },
): Promise<string> {
  const hash = createHash(algorithm);
  await hashInto(hash, path, Number.MAX_SAFE_INTEGER, options);
  return hash.digest('hex');
}

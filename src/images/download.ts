import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { localFileError, readFileIfExists, syncFolder, writeFileAtomic } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { Log } from '../progress.ts';
import { splitDigest } from './digest.ts';
import { hashFile, hashInto } from './hashing.ts';
import {
  TransientNetworkError,
  httpGet,
  DEFAULT_RETRY_POLICY,
  downloadRefusedError,
  retryDownload,
  type HttpResponse,
  type DownloadRetryPolicy,
} from './http.ts';
import { createByteMeter } from './byte-meter.ts';
import { parseJson } from '../parse-json.ts';

export type DownloadRequest = {
  /** `sha512:…` or `sha256:…`. */
  readonly digest: string;
  /** The folder that it goes to; one download of a digest at a time (see `Images.lock`). */
  readonly folder: string;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** The file's name there; its digest's digits where none is given. */
  readonly fileName?: string;
  readonly retryPolicy?: DownloadRetryPolicy;
};

/** What was said of the file whose beginning lies in the .part: only the same one may be gone on with. */
type PartOrigin = { readonly url: string; readonly validator: string | undefined };

/**
 * The path of a file that has this digest. A file of this computer is checked and used where it is. From the network it
 * grows as DIGEST.part, which outlives everything but a wrong digest, and gets its name when it is whole and right.
 */
export async function download(url: string, call: DownloadRequest): Promise<string> {
  if (!/^https?:/i.test(url)) return checkLocalFile(url, call);
  const { hex } = splitDigest(call.digest);
  const path = join(call.folder, call.fileName ?? hex);
  try {
    await mkdir(call.folder, { recursive: true, mode: 0o700 });
    if (await hasExpectedDigest(path, call)) return path;
  } catch (error) {
    throw localFileError(path, error);
  }
  await using part = await openPartFile(join(call.folder, `${hex}.part`), url, call);
  if (part.digest() !== hex) await completePart(part, url, call);
  await part.moveTo(path);
  return path;
}

/**
 * Two pieces that don't fit may be of two files, which says nothing of the one there now: that is then fetched whole.
 */
async function completePart(part: PartFile, url: string, call: DownloadRequest): Promise<void> {
  const { hex } = splitDigest(call.digest);
  const { pieced } = await fetchRest(part, url, call);
  if (pieced && part.digest() !== hex) {
    call.log('The part that was downloaded before does not match; downloading again');
    await part.restart();
    await fetchRest(part, url, call);
  }
  const actual = part.digest();
  if (actual === hex) return;
  await part.remove();
  throw wrongDigestError(url, call.digest, actual);
}

async function fetchRest(part: PartFile, url: string, call: DownloadRequest): Promise<{ readonly pieced: boolean }> {
  let pieced = false;
  const how = {
    signal: call.signal,
    patience: call.retryPolicy ?? DEFAULT_RETRY_POLICY,
    log: call.log,
    reached: () => part.bytes,
  };
  const say = createByteMeter(call.log, '');
  await retryDownload(url, how, async () => {
    const answer = await httpGet(url, await part.readRangeHeaders(), how);
    try {
      const total = await alignPart(part, url, answer);
      pieced = answer.status === 206;
      for await (const chunk of answer.chunks) {
        await part.append(chunk);
        say(part.bytes, total);
      }
      if (total !== undefined && part.bytes < total) throw new TransientNetworkError('the connection broke');
    } finally {
      answer.close();
    }
  });
  return { pieced };
}

/** Makes the part end where the answer begins; the length of the whole, where the server tells. */
async function alignPart(part: PartFile, url: string, answer: HttpResponse): Promise<number | undefined> {
  if (answer.status === 206) {
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(answer.headers.get('content-range') ?? '') ?? [];
    if (Number(from) === part.bytes) return total === '*' ? undefined : Number(total);
    await part.restart();
    throw new TransientNetworkError('the server sent another part than was asked for');
  }
  // What is here is longer than what is there: they are two things.
  if (answer.status === 416 && part.bytes > 0) {
    await part.restart();
    throw new TransientNetworkError('the server has no such part');
  }
  if (answer.status !== 200) throw downloadRefusedError(url, answer);
  await part.restart();
  await part.writeOrigin({ url, validator: validatorOf(answer.headers) });
  const length = answer.headers.get('content-length');
  return length === null || answer.headers.has('content-encoding') ? undefined : Number(length);
}

/** What If-Range compares. A weak ETag promises too little for that. */
function validatorOf(headers: Headers): string | undefined {
  const etag = headers.get('etag');
  return etag !== null && !etag.startsWith('W/') ? etag : (headers.get('last-modified') ?? undefined);
}

/** The beginning of a file, hashed as it grows. */
type PartFile = AsyncDisposable & {
  readonly bytes: number;
  digest(): string;
  /** The headers that ask for the rest, or for nothing in particular where there is no beginning. */
  readRangeHeaders(): Promise<Readonly<Record<string, string>>>;
  writeOrigin(from: PartOrigin): Promise<void>;
  append(chunk: Uint8Array): Promise<void>;
  restart(): Promise<void>;
  remove(): Promise<void>;
  moveTo(path: string): Promise<void>;
};

async function openPartFile(path: string, url: string, { digest, log, signal }: DownloadRequest): Promise<PartFile> {
  const { algorithm } = splitDigest(digest);
  const about = `${path}.from`;
  let hash = createHash(algorithm);
  let bytes = 0;
  const file = await withLocalFileError(path, () => open(path, 'a', 0o600));
  const part: PartFile = {
    get bytes() {
      return bytes;
    },
    digest: () => hash.copy().digest('hex'),
    async readRangeHeaders() {
      if (bytes === 0) return {};
      const from = await readOrigin(about);
      // Of a mirror nothing is known but the digest, which has the last word.
      const validator = from?.url === url ? from.validator : undefined;
      return { range: `bytes=${bytes}-`, ...(validator === undefined ? {} : { 'if-range': validator }) };
    },
    writeOrigin: (from) => writeFileAtomic(about, `${JSON.stringify(from)}\n`, 0o600),
    async append(chunk) {
      await withLocalFileError(path, () => writeAll(file, chunk));
      hash.update(chunk);
      bytes += chunk.length;
    },
    async restart() {
      if (bytes > 0) await withLocalFileError(path, () => file.truncate(0));
      hash = createHash(algorithm);
      bytes = 0;
    },
    async remove() {
      await rm(path, { force: true });
      await rm(about, { force: true });
    },
    moveTo: (place) =>
      withLocalFileError(place, async () => {
        await file.sync();
        await rename(path, place);
        await rm(about, { force: true });
        await syncFolder(join(place, '..'));
      }),
    [Symbol.asyncDispose]: () => file.close(),
  };
  try {
    const { size } = await file.stat();
    const say = createByteMeter(log, 'Checking the existing file: ');
    await hashInto(hash, path, size, { signal, done: (done) => say(done, size) });
    bytes = size;
    return part;
  } catch (error) {
    await file.close();
    throw localFileError(path, error);
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.length;) done += (await file.write(chunk, done)).bytesWritten;
}

async function readOrigin(path: string): Promise<PartOrigin | undefined> {
  return parseJson(await withLocalFileError(path, () => readFileIfExists(path))) as PartOrigin | undefined;
}

async function withLocalFileError<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw localFileError(path, error);
  }
}

async function hasExpectedDigest(path: string, { digest, signal, log }: DownloadRequest): Promise<boolean> {
  const { algorithm, hex } = splitDigest(digest);
  const found = await stat(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (found === undefined) return false;
  const say = createByteMeter(log, 'Checking the existing file: ');
  return (await hashFile(path, algorithm, { signal, done: (done) => say(done, found.size) })) === hex;
}

async function checkLocalFile(url: string, call: DownloadRequest): Promise<string> {
  const path = /^file:/i.test(url) ? fileURLToPath(url) : url;
  const { algorithm, hex } = splitDigest(call.digest);
  const say = createByteMeter(call.log, 'Checked ');
  const actual = await hashFile(path, algorithm, { signal: call.signal, done: say }).catch((error: unknown) => {
    if (systemCode(error) === undefined) throw error;
    const why = systemCode(error) === 'ENOENT' ? 'the file does not exist' : `it can't be read (${systemCode(error)})`;
    throw new SlipwayError('DOWNLOAD', `${path} can't be used: ${why}`, { hint: 'Check the path', cause: error });
  });
  if (actual === hex) return path;
  throw wrongDigestError(path, call.digest, actual);
}

function wrongDigestError(url: string, expected: string, actual: string): SlipwayError {
  const { algorithm } = splitDigest(expected);
  return new SlipwayError('DOWNLOAD', `${url} is not what its digest says`, {
    detail: [`expected ${expected}`, `actual   ${algorithm}:${actual}`],
    hint: 'Check that the digest belongs to this file. If the vendor replaced the file, use the digest that the vendor publishes now',
  });
}

import { createHash } from 'node:crypto';
import { mkdir, open, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  deleteFile,
  localFileError,
  readFileIfExists,
  renamePath,
  syncFolder,
  writeFileAtomic,
} from '../computer/files.ts';
import type { ProxyEnvironment } from '../computer/proxy.ts';
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
  /** The target folder. Only one download per digest may use it at a time (see `ImageStore.lock`). */
  readonly folder: string;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** The file's name; the default is the digits of its digest. */
  readonly fileName?: string;
  readonly retryPolicy?: DownloadRetryPolicy;
  readonly env?: ProxyEnvironment;
};

/** Where the content of the .part file came from: a download continues only from the same file. */
type PartOrigin = { readonly url: string; readonly validator: string | undefined };

/**
 * Returns the path of a file with this digest. A file on this computer is checked and used in place. A download grows
 * as DIGEST.part, which is kept on every failure except a wrong digest, and is renamed once it is complete and correct.
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
 * Downloads the rest of the file and checks its digest. If it was resumed, the two pieces may come from different
 * files, which says nothing about the file on the server now: it is then downloaded again from the start.
 */
async function completePart(part: PartFile, url: string, call: DownloadRequest): Promise<void> {
  const { hex } = splitDigest(call.digest);
  const { resumed } = await fetchRest(part, url, call);
  if (resumed && part.digest() !== hex) {
    call.log('The part that was downloaded before does not match; downloading again');
    await part.restart();
    await fetchRest(part, url, call);
  }
  const actual = part.digest();
  if (actual === hex) return;
  await part.remove();
  throw wrongDigestError(url, call.digest, actual);
}

async function fetchRest(part: PartFile, url: string, call: DownloadRequest): Promise<{ readonly resumed: boolean }> {
  let resumed = false;
  const options = {
    signal: call.signal,
    retryPolicy: call.retryPolicy ?? DEFAULT_RETRY_POLICY,
    log: call.log,
    env: call.env,
    bytesReceived: () => part.bytes,
  };
  const reportBytes = createByteMeter(call.log, '');
  await retryDownload(url, options, async () => {
    const response = await httpGet(url, await part.readRangeHeaders(), options);
    try {
      const total = await alignPart(part, url, response);
      resumed = response.status === 206;
      for await (const chunk of response.chunks) {
        await part.append(chunk);
        reportBytes(part.bytes, total);
      }
      if (total !== undefined && part.bytes < total) throw new TransientNetworkError('the connection broke');
    } finally {
      response.close();
    }
  });
  return { resumed };
}

/** Makes the part end where the response begins. Returns the file's total length, if the server tells it. */
async function alignPart(part: PartFile, url: string, response: HttpResponse): Promise<number | undefined> {
  if (response.status === 206) {
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '') ?? [];
    if (Number(from) === part.bytes) return total === '*' ? undefined : Number(total);
    await part.restart();
    throw new TransientNetworkError('the server sent a different range than requested');
  }
  // The local part is longer than the file on the server, so it is of another file.
  if (response.status === 416 && part.bytes > 0) {
    await part.restart();
    throw new TransientNetworkError('the server does not have the requested range');
  }
  if (response.status !== 200) throw downloadRefusedError(url, response);
  await part.restart();
  await part.writeOrigin({ url, validator: validatorOf(response.headers) });
  const length = response.headers.get('content-length');
  return length === null || response.headers.has('content-encoding') ? undefined : Number(length);
}

/** Returns the value that If-Range compares. A weak ETag does not guarantee identical bytes. */
function validatorOf(headers: Headers): string | undefined {
  const etag = headers.get('etag');
  return etag !== null && !etag.startsWith('W/') ? etag : (headers.get('last-modified') ?? undefined);
}

/** The first part of a file, hashed as it grows. */
type PartFile = AsyncDisposable & {
  readonly bytes: number;
  digest(): string;
  /** Returns headers that request the rest; none if the part is empty. */
  readRangeHeaders(): Promise<Readonly<Record<string, string>>>;
  writeOrigin(origin: PartOrigin): Promise<void>;
  append(chunk: Uint8Array): Promise<void>;
  restart(): Promise<void>;
  remove(): Promise<void>;
  moveTo(path: string): Promise<void>;
};

async function openPartFile(path: string, url: string, { digest, log, signal }: DownloadRequest): Promise<PartFile> {
  const { algorithm } = splitDigest(digest);
  const originPath = `${path}.from`;
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
      const origin = await readOrigin(originPath);
      // A mirror's validator can't be compared; the digest decides in the end.
      const validator = origin?.url === url ? origin.validator : undefined;
      return { range: `bytes=${bytes}-`, ...(validator === undefined ? {} : { 'if-range': validator }) };
    },
    writeOrigin: (origin) => writeFileAtomic(originPath, `${JSON.stringify(origin)}\n`, 0o600),
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
      await deleteFile(path);
      await deleteFile(originPath);
    },
    moveTo: (target) =>
      withLocalFileError(target, async () => {
        await file.sync();
        await renamePath(path, target);
        await deleteFile(originPath);
        await syncFolder(join(target, '..'));
      }),
    [Symbol.asyncDispose]: () => file.close(),
  };
  try {
    const { size } = await file.stat();
    const reportBytes = createByteMeter(log, 'Checking the existing file: ');
    await hashInto(hash, path, size, { signal, done: (done) => reportBytes(done, size) });
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
  const reportBytes = createByteMeter(log, 'Checking the existing file: ');
  return (await hashFile(path, algorithm, { signal, done: (done) => reportBytes(done, found.size) })) === hex;
}

async function checkLocalFile(url: string, call: DownloadRequest): Promise<string> {
  const path = /^file:/i.test(url) ? fileURLToPath(url) : url;
  const { algorithm, hex } = splitDigest(call.digest);
  const reportBytes = createByteMeter(call.log, 'Checked ');
  const actual = await hashFile(path, algorithm, { signal: call.signal, done: reportBytes }).catch((error: unknown) => {
    if (systemCode(error) === undefined) throw error;
    const why = systemCode(error) === 'ENOENT' ? 'the file does not exist' : `it can't be read (${systemCode(error)})`;
    throw new SlipwayError('DOWNLOAD', `${path} can't be used: ${why}`, { hint: 'Check the path', cause: error });
  });
  if (actual === hex) return path;
  throw wrongDigestError(path, call.digest, actual);
}

function wrongDigestError(url: string, expected: string, actual: string): SlipwayError {
  const { algorithm } = splitDigest(expected);
  return new SlipwayError('DOWNLOAD', `${url} does not match its digest`, {
    detail: [`expected ${expected}`, `actual   ${algorithm}:${actual}`],
    hint: 'Check that the digest belongs to this file. If the vendor replaced the file, use the digest that the vendor publishes now',
  });
}

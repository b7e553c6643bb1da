import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { download, type DownloadRequest } from '../../src/images/download.ts';
import { fetchPublishedDigest } from '../../src/images/published-digest.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { startFileServer, startFileServerOn } from '../fakes/file-server.ts';
import { readMode } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const fileContent = randomBytes(3_000_000);
const otherContent = randomBytes(3_000_000);
const hexDigest = (content: Buffer, algorithm = 'sha512'): string =>
  createHash(algorithm).update(content).digest('hex');
const retryPolicy = { stallMilliseconds: 5000, attempts: 3, pauseMilliseconds: 10 };
const signal = new AbortController().signal;

function downloadTo(folder: string, more: Partial<DownloadRequest> = {}): DownloadRequest {
  return {
    digest: `sha512:${hexDigest(fileContent)}`,
    folder,
    log: () => {},
    signal,
    fileName: 'disk',
    retryPolicy,
    ...more,
  };
}

/** Writes the partial file that an earlier run left. */
async function writePartial(to: string, content: Buffer, from?: object): Promise<void> {
  await mkdir(to, { recursive: true });
  await writeFile(join(to, `${hexDigest(fileContent)}.part`), content);
  if (from) await writeFile(join(to, `${hexDigest(fileContent)}.part.from`), JSON.stringify(from));
}

const MEGABYTE = 1_000_000;

test('downloads a file by either digest, readable only by its owner, and leaves no other file', async () => {
  await using folder = await createTemporaryFolder();
  await using server = await startFileServer(fileContent);
  for (const algorithm of ['sha512', 'sha256']) {
    const to = join(folder.path, algorithm);
    const path = await download(
      server.url,
      downloadTo(to, { digest: `${algorithm}:${hexDigest(fileContent, algorithm)}` }),
    );
    expect(path).toBe(join(to, 'disk'));
    expect((await readFile(path)).equals(fileContent)).toBe(true);
    expect(await readMode(path, '600')).toBe('600');
    expect(await readdir(to)).toEqual(['disk']);
    // A compressed body would have another length.
    expect(server.requests.at(-1)?.headers['accept-encoding']).toBe('identity');
  }
});

test('verifies an existing file without a request, and replaces a file with another digest', async () => {
  await using folder = await createTemporaryFolder();
  await using server = await startFileServer(fileContent);
  await writeFile(join(folder.path, 'disk'), otherContent);
  await download(server.url, downloadTo(folder.path));
  await download(server.url, downloadTo(folder.path));
  expect(server.requests).toHaveLength(1);
  expect((await readFile(join(folder.path, 'disk'))).equals(fileContent)).toBe(true);
});

test('names the file by its digest when no name is given', async () => {
  await using folder = await createTemporaryFolder();
  await using server = await startFileServer(fileContent);
  const { fileName: _, ...rest } = downloadTo(folder.path);
  expect(await download(server.url, rest)).toBe(join(folder.path, hexDigest(fileContent)));
});

test('resumes after the last byte when the connection is lost, and logs each pause', async () => {
  await using folder = await createTemporaryFolder();
  const etag = '"1"';
  await using server = await startFileServer(
    fileContent,
    { stopAtByte: MEGABYTE, etag },
    { stopAtByte: 2 * MEGABYTE, etag },
    { etag },
  );
  const lines: string[] = [];
  await download(server.url, downloadTo(folder.path, { log: (line) => lines.push(line) }));
  expect(server.requests.map(({ headers }) => headers['if-range'])).toEqual([undefined, etag, etag]);
  const ranges = server.requests.map(({ headers }) => Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0));
  expect(ranges[0]).toBe(0);
  expect(ranges[1]).toBeGreaterThan(0);
  expect(ranges[2]).toBeGreaterThan(ranges[1] ?? 0);
  expect(lines).toContainEqual(expect.stringMatching(/^the connection (broke|was reset); retrying in 0\.0 s$/));
  expect(lines.at(-1)).toMatch(/^3\.0 of 3\.0 MB \(100 %\)/);
});

test('keeps retrying while each attempt makes progress', async () => {
  await using folder = await createTemporaryFolder();
  const drops = Array.from({ length: 8 }, (_, index) => ({ stopAtByte: (index + 1) * 300_000, etag: '"1"' }));
  await using server = await startFileServer(fileContent, ...drops, { etag: '"1"' });
  await download(server.url, downloadTo(folder.path));
  expect(server.requests.length).toBeGreaterThan(retryPolicy.attempts);
});

test('starts over when the server ignores ranges, even without a length', async () => {
  await using folder = await createTemporaryFolder();
  for (const chunked of [false, true]) {
    await using server = await startFileServer(
      fileContent,
      { stopAtByte: MEGABYTE, chunked },
      { ignoresRange: true, chunked },
    );
    const path = await download(server.url, downloadTo(join(folder.path, String(chunked))));
    expect((await readFile(path)).equals(fileContent)).toBe(true);
    expect(server.requests).toHaveLength(2);
  }
});

test('starts over when the file has changed on the server, by its ETag or date', async () => {
  await using folder = await createTemporaryFolder();
  const old = { etag: '"old"' };
  const dated = { lastModified: 'Mon, 01 Jan 2024 00:00:00 GMT', etag: 'W/"weak"' };
  for (const [index, first] of [old, dated].entries()) {
    const now = { etag: '"new"', lastModified: 'Tue, 02 Jan 2024 00:00:00 GMT' };
    await using server = await startFileServer(
      fileContent,
      { ...first, stopAtByte: MEGABYTE, body: otherContent },
      now,
    );
    const path = await download(server.url, downloadTo(join(folder.path, String(index))));
    expect((await readFile(path)).equals(fileContent)).toBe(true);
    expect(server.requests[1]?.headers['if-range']).toBe(index === 0 ? '"old"' : dated.lastModified);
    // Only two requests: the second one returned the complete file.
    expect(server.requests).toHaveLength(2);
  }
});

describe('a partial file', () => {
  test('is hashed and resumed', async () => {
    await using folder = await createTemporaryFolder();
    await using server = await startFileServer(fileContent, { etag: '"1"' });
    await writePartial(folder.path, fileContent.subarray(0, MEGABYTE), { url: server.url, validator: '"1"' });
    await download(server.url, downloadTo(folder.path));
    expect(server.requests.map(({ headers }) => [headers.range, headers['if-range']])).toEqual([
      ['bytes=1000000-', '"1"'],
    ]);
    expect(await readdir(folder.path)).toEqual(['disk']);
  });

  test('is resumed from a mirror without If-Range, since the ETag of the mirror is unknown', async () => {
    await using folder = await createTemporaryFolder();
    await using server = await startFileServer(fileContent, { etag: '"mirror"' });
    await writePartial(folder.path, fileContent.subarray(0, MEGABYTE), {
      url: 'https://elsewhere.example/',
      validator: '"1"',
    });
    await download(server.url, downloadTo(folder.path));
    expect(server.requests.map(({ headers }) => [headers.range, headers['if-range']])).toEqual([
      ['bytes=1000000-', undefined],
    ]);
  });

  test.each([
    ['of another file', otherContent.subarray(0, MEGABYTE)],
    ['longer than the file', Buffer.concat([fileContent, otherContent])],
    ['of the same length with other content', otherContent],
  ])('%s is discarded, and the complete file is downloaded', async (_, content) => {
    await using folder = await createTemporaryFolder();
    await using server = await startFileServer(fileContent);
    await writePartial(folder.path, content);
    const path = await download(server.url, downloadTo(folder.path));
    expect((await readFile(path)).equals(fileContent)).toBe(true);
    expect(server.requests.at(-1)?.headers.range).toBeUndefined();
  });

  test('that is complete needs no server', async () => {
    await using folder = await createTemporaryFolder();
    await writePartial(folder.path, fileContent);
    await download('http://127.0.0.1:9/disk', downloadTo(folder.path));
    expect(await readdir(folder.path)).toEqual(['disk']);
  });

  test('is discarded when the server sends another range than requested', async () => {
    await using folder = await createTemporaryFolder();
    await using server = await startFileServer(fileContent, { wrongRange: 5 });
    await writePartial(folder.path, fileContent.subarray(0, MEGABYTE));
    const lines: string[] = [];
    const path = await download(server.url, downloadTo(folder.path, { log: (line) => lines.push(line) }));
    expect((await readFile(path)).equals(fileContent)).toBe(true);
    expect(lines).toContainEqual(expect.stringMatching(/^the server sent a different range than requested; retrying/));
  });
});

test('refuses a file with another digest, removes it, and prints both digests', async () => {
  await using folder = await createTemporaryFolder();
  await using server = await startFileServer(otherContent);
  expect(await catchRejection(download(server.url, downloadTo(folder.path)))).toMatchObject({
    code: 'DOWNLOAD',
    message: `${server.url} does not match its digest`,
    detail: [`expected sha512:${hexDigest(fileContent)}`, `actual   sha512:${hexDigest(otherContent)}`],
  });
  expect(await readdir(folder.path)).toEqual([]);
  expect(server.requests).toHaveLength(1);
});

test('retries a silent server, gives up when it stays silent, and keeps the partial file', async () => {
  await using folder = await createTemporaryFolder();
  const soon = { ...retryPolicy, stallMilliseconds: 300 };
  await using server = await startFileServer(fileContent, { stopAtByte: MEGABYTE, onStop: 'silence' }, {});
  await download(server.url, downloadTo(join(folder.path, 'once'), { retryPolicy: soon }));
  expect(server.requests).toHaveLength(2);

  await using silent = await startFileServer(fileContent, { stopAtByte: MEGABYTE, onStop: 'silence' });
  const error = await catchRejection(
    download(silent.url, downloadTo(join(folder.path, 'always'), { retryPolicy: soon })),
  );
  expect(error).toMatchObject({ code: 'DOWNLOAD' });
  expect(error?.message).toBe(`${silent.url} could not be downloaded: no data arrived for 0.3 s (3 attempts)`);
  expect((await stat(join(folder.path, 'always', `${hexDigest(fileContent)}.part`))).size).toBeGreaterThan(0);
});

test.each([
  [404, 'the file does not exist', 1],
  [403, 'the server answered 403', 1],
  [503, 'the server answered 503 Service Unavailable (3 attempts)', 3],
  [429, 'the server answered 429 Too Many Requests (3 attempts)', 3],
])('reports HTTP %d: %s', async (status, reason, requests) => {
  await using folder = await createTemporaryFolder();
  await using server = await startFileServer(fileContent, { status });
  expect(await catchRejection(download(server.url, downloadTo(folder.path)))).toMatchObject({
    code: 'DOWNLOAD',
    message: `${server.url} could not be downloaded: ${reason}`,
  });
  expect(server.requests).toHaveLength(requests);
});

test('reports why a server is unreachable, and retries one that comes back', async () => {
  await using folder = await createTemporaryFolder();
  const error = await catchRejection(download('http://127.0.0.1:9/disk', downloadTo(folder.path)));
  expect(error?.message).toMatch(/^http:\/\/127\.0\.0\.1:9\/disk could not be downloaded: .*\(3 attempts\)$/);
  await using server = await startFileServer(fileContent, { status: 502 }, {});
  await download(server.url, downloadTo(folder.path));
});

test('follows a redirect', async () => {
  await using folder = await createTemporaryFolder();
  await using server = await startFileServer(fileContent);
  await using front = await startFileServer(fileContent, { status: 302, location: server.url });
  const path = await download(front.url, downloadTo(folder.path));
  expect((await readFile(path)).equals(fileContent)).toBe(true);
});

test('keeps the partial file on Ctrl-C, and the next run resumes it', async () => {
  await using folder = await createTemporaryFolder();
  const etag = '"1"';
  await using server = await startFileServer(fileContent, { stopAtByte: MEGABYTE, onStop: 'silence', etag }, { etag });
  const stop = new AbortController();
  const part = join(folder.path, `${hexDigest(fileContent)}.part`);
  // Cancellation does not count as a failed attempt, which would be the last one.
  const once = { ...retryPolicy, attempts: 1 };
  const work = catchRejection(
    download(server.url, downloadTo(folder.path, { signal: stop.signal, retryPolicy: once })),
  );
  while ((await stat(part).catch(() => undefined))?.size !== MEGABYTE) await new Promise(setImmediate);
  stop.abort();
  expect((await work)?.code).toBe('CANCELED');
  expect((await readFile(part)).equals(fileContent.subarray(0, MEGABYTE))).toBe(true);
  await download(server.url, downloadTo(folder.path));
  expect(server.requests.map(({ headers }) => [headers.range, headers['if-range']])).toEqual([
    [undefined, undefined],
    ['bytes=1000000-', etag],
  ]);
});

test('ends a pause between two attempts at once on Ctrl-C', async () => {
  await using folder = await createTemporaryFolder();
  await using server = await startFileServer(fileContent, { status: 503 });
  const stop = new AbortController();
  const long = { ...retryPolicy, pauseMilliseconds: 15_000 };
  const log = (): void => stop.abort();
  const error = await catchRejection(
    download(server.url, downloadTo(folder.path, { signal: stop.signal, retryPolicy: long, log })),
  );
  expect(error?.code).toBe('CANCELED');
  expect(server.requests).toHaveLength(1);
});

// /dev/full simulates a full disk.
test.skipIf(process.platform !== 'linux')('reports a full disk, and keeps the partial file', async () => {
  await using folder = await createTemporaryFolder();
  await using server = await startFileServer(fileContent);
  const part = join(folder.path, `${hexDigest(fileContent)}.part`);
  await symlink('/dev/full', part);
  expect(await catchRejection(download(server.url, downloadTo(folder.path)))).toMatchObject({
    code: 'LOCAL_FILES',
    message: `${part} could not be written: the disk is full`,
  });
  expect(await readdir(folder.path)).toContain(`${hexDigest(fileContent)}.part`);
});

test('verifies a local file and uses it in place', async () => {
  await using folder = await createTemporaryFolder();
  const path = join(folder.path, 'a b.qcow2');
  await writeFile(path, fileContent);
  const to = join(folder.path, 'to');
  expect(await download(path, downloadTo(to))).toBe(path);
  expect(await download(pathToFileURL(path).href, downloadTo(to))).toBe(path);
  await writeFile(path, otherContent);
  expect(await catchRejection(download(path, downloadTo(to)))).toMatchObject({
    code: 'DOWNLOAD',
    detail: [`expected sha512:${hexDigest(fileContent)}`, `actual   sha512:${hexDigest(otherContent)}`],
  });
  expect((await catchRejection(download(join(folder.path, 'none'), downloadTo(to))))?.message).toMatch(
    /the file does not exist$/,
  );
  expect(await readdir(folder.path)).toEqual(['a b.qcow2']);
});

describe("a vendor's list of digests", () => {
  const toBytes = (text: string): Buffer => Buffer.from(text);
  const fetchDigest = (url: string, name: string): Promise<string> =>
    fetchPublishedDigest(url, name, { signal, log: () => {}, retryPolicy });

  test('provides the digest of exactly this file', async () => {
    const [a, b, c] = ['a', 'b', 'c'].map((digit) => digit.repeat(128));
    await using server = await startFileServer(
      toBytes(`${a}  x-disk.qcow2\n${b}  disk.qcow2\n${c} *disk.qcow2.json\r\n${'d'.repeat(64)}  ./short\r\n`),
    );
    expect(await fetchDigest(server.url, 'disk.qcow2')).toBe(`sha512:${b}`);
    expect(await fetchDigest(server.url, 'disk.qcow2.json')).toBe(`sha512:${c}`);
    expect(await fetchDigest(server.url, 'short')).toBe(`sha256:${'d'.repeat(64)}`);
    expect(await catchRejection(fetchDigest(server.url, 'diskXqcow2'))).toMatchObject({
      code: 'DOWNLOAD',
      message: `The digests at ${server.url} can't be used: it has no line for diskXqcow2`,
    });
  });

  test('must come over TLS, except from this computer', async () => {
    expect((await catchRejection(fetchDigest('http://192.0.2.1/SHA512SUMS', 'x')))?.message).toMatch(
      /must come over https$/,
    );
    await using server = await startFileServer(fileContent, { status: 404 });
    expect((await catchRejection(fetchDigest(server.url, 'x')))?.message).toMatch(/the file does not exist$/);
  });

  // Only Linux has several loopback addresses without configuration.
  test.skipIf(process.platform !== 'linux')('is refused when a redirect leaves TLS', async () => {
    await using elsewhere = await startFileServerOn('127.0.0.2', toBytes(`${'a'.repeat(128)}  x\n`));
    await using server = await startFileServer(fileContent, { status: 302, location: elsewhere.url });
    expect((await catchRejection(fetchDigest(server.url, 'x')))?.message).toMatch(/must come over https$/);
  });

  test('is refused when it is not a list of digests', async () => {
    await using digits = await startFileServer(toBytes('abc  disk.qcow2\n'));
    expect((await catchRejection(fetchDigest(digits.url, 'disk.qcow2')))?.message).toMatch(/has no valid digest$/);
    await using server = await startFileServer(fileContent);
    expect((await catchRejection(fetchDigest(server.url, 'disk.qcow2')))?.message).toMatch(
      /too large for a list of digests/,
    );
  });
});

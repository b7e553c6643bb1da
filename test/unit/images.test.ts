import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { requireKnownImage, knownImages } from '../../src/images/catalog.ts';
import { parseDigest } from '../../src/images/digest.ts';
import { archOf, imageFolderName, parseImageFolderName, isImageName, imageNameFor } from '../../src/images/image.ts';
import { createByteMeter, formatByteProgress } from '../../src/images/byte-meter.ts';
import { parseImageReference } from '../../src/images/image-reference.ts';
import { catchError } from '../fakes/catch-error.ts';
import { isPosix } from '../fakes/file-modes.ts';

const SHA512 = 'ab'.repeat(64);
const SHA256 = 'cd'.repeat(32);

describe('parseImageReference', () => {
  test.each([
    ['debian-13', undefined, { kind: 'known', name: 'debian-13' }],
    ['mine', undefined, { kind: 'known', name: 'mine' }],
    ['./debian-13', undefined, { kind: 'file', path: './debian-13', digest: undefined }],
    ['disk.qcow2', undefined, { kind: 'file', path: 'disk.qcow2', digest: undefined }],
    ['C:\\disks\\mine', undefined, { kind: 'file', path: 'C:\\disks\\mine', digest: undefined }],
    ['/srv/a b.img', SHA256, { kind: 'file', path: '/srv/a b.img', digest: `sha256:${SHA256}` }],
    [pathToFileURL('/srv/a b.img').href, undefined, { kind: 'file', path: resolve('/srv/a b.img'), digest: undefined }],
    [
      'https://x.example/d.qcow2',
      `sha512:${SHA512}`,
      { kind: 'url', url: 'https://x.example/d.qcow2', digest: `sha512:${SHA512}` },
    ],
    [
      'HTTP://x.example/d',
      SHA512.toUpperCase(),
      { kind: 'url', url: 'HTTP://x.example/d', digest: `sha512:${SHA512}` },
    ],
  ])('parses %s with the digest %s', (image, digest, request) => {
    expect(parseImageReference(image, digest)).toEqual(request);
  });

  test('refuses a URL without a digest, and what is no image, with a hint', () => {
    const errorMessage = (image: string, digest?: string): string | undefined =>
      catchError(() => parseImageReference(image, digest, '--digest'))?.message;
    expect(catchError(() => parseImageReference('https://x.example/d.qcow2'))).toMatchObject({
      code: 'USAGE',
      message: 'An image from a URL needs its digest: https://x.example/d.qcow2',
      hint: 'Add --image-digest sha512:… (from the SHA512SUMS file beside the image)',
    });
    expect(errorMessage('https://x.example/d', '')).toMatch(/needs its digest/);
    expect(errorMessage('ftp://x.example/d', SHA256)).toMatch(/can't be downloaded/);
    // On Windows, elsewhere is a computer that shares its files.
    expect(errorMessage(isPosix ? 'file://elsewhere/d' : 'file:///d')).toMatch(/is not a file on this computer/);
    expect(errorMessage('Debian_13')).toMatch(/can't be the name/);
    expect(errorMessage('')).toMatch(/can't be the name/);
    expect(errorMessage('debian-13', SHA256)).toBe(
      '--digest is only for an image from a URL or a file, and "debian-13" is a name',
    );
  });
});

test('the algorithm of a digest follows from its length; another length or algorithm is refused', () => {
  expect(parseDigest(` ${SHA512}\n`)).toBe(`sha512:${SHA512}`);
  expect(parseDigest(`SHA256:${SHA256.toUpperCase()}`)).toBe(`sha256:${SHA256}`);
  for (const wrong of ['', 'abc', `sha512:${SHA256}`, `sha256:${SHA512}`, `md5:${SHA256}`, `${SHA256}g`, `${SHA512}00`])
    expect(catchError(() => parseDigest(wrong))?.code, wrong).toBe('USAGE');
});

test('the catalog has the URL of each known image and of its list of digests', () => {
  expect(knownImages.map(({ name, suite }) => [name, suite])).toEqual([
    ['debian-13', 'trixie'],
    ['debian-12', 'bookworm'],
  ]);
  expect(requireKnownImage('debian-12').cloud.arm64).toEqual({
    url: 'https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-arm64.qcow2',
    file: 'debian-12-genericcloud-arm64.qcow2',
    sums: 'https://cloud.debian.org/images/cloud/bookworm/latest/SHA512SUMS',
  });
  expect(catchError(() => requireKnownImage('debian-9'))).toMatchObject({
    code: 'USAGE',
    hint: expect.stringContaining('debian-13 and debian-12'),
  });
});

describe('names', () => {
  test('of images are safe in paths and shells', () => {
    for (const good of ['debian-13', 'a', '13', 'rocky-9.5', 'a'.repeat(63)])
      expect(isImageName(good), good).toBe(true);
    for (const bad of ['', '-a', 'a-', '.a', 'a..b', 'A', 'a/b', 'a b', 'a_b', 'a'.repeat(64), 'ä'])
      expect(isImageName(bad), bad).toBe(false);
  });

  test.each([
    ['/srv/My Disk_2.qcow2', 'my-disk-2-cdcdcdcdcdcd'],
    ['C:\\x\\mine.IMG', 'mine-cdcdcdcdcdcd'],
    ['debian-12.11-generic.tar.xz', 'debian-12-11-generic-cdcdcdcdcdcd'],
    ['.qcow2', 'image-cdcdcdcdcdcd'],
    ['ä'.repeat(9), 'image-cdcdcdcdcdcd'],
    ['x'.repeat(99), `${'x'.repeat(40)}-cdcdcdcdcdcd`],
  ])('of images are derived from the file %s', (path, name) => {
    expect(imageNameFor(path, `sha256:${SHA256}`)).toBe(name);
    expect(isImageName(name)).toBe(true);
  });

  test('of image folders are parsed, and other folders are ignored', () => {
    const key = { name: 'debian-13-amd64', arch: 'arm64', digest: `sha256:${SHA256}` } as const;
    expect(parseImageFolderName(imageFolderName(key))).toEqual({ ...key, digest: 'sha256:cdcdcdcdcdcd' });
    for (const stray of [
      '.locks',
      '.new-1-ab',
      'lost+found',
      'debian-13-amd64',
      'x-riscv-cdcdcdcdcdcd',
      '..-amd64-cdcdcdcdcdcd',
    ])
      expect(parseImageFolderName(stray), stray).toBeUndefined();
    expect(() => imageFolderName({ ...key, name: '../x' })).toThrow(/can't be the name/);
  });
});

test("the default architecture is this computer's, and one without images is refused", () => {
  const computer = { platform: 'linux', env: {}, templates: '/nowhere', home: '/' } as const;
  expect([archOf({ ...computer, arch: 'x64' }), archOf({ ...computer, arch: 'arm64' })]).toEqual(['amd64', 'arm64']);
  expect(catchError(() => archOf({ ...computer, arch: 'riscv64' }))?.code).toBe('DRIVER_UNSUPPORTED');
});

describe('progress of a download', () => {
  test.each([
    [412e6, 633e6, 21e6, '412 of 633 MB (65 %), 21 MB/s, 11 s left'],
    [0, 633e6, undefined, '0 of 633 MB (0 %)'],
    [1.25e6, undefined, 2.5e5, '1.3 MB, 0.3 MB/s'],
    [100e6, 1e9, 1e6, '100 of 1000 MB (10 %), 1.0 MB/s, 15 min left'],
    [100e6, 50e6, 0, '100 MB'],
  ])('formats %d of %s bytes at %s', (done, total, rate, line) => {
    expect(formatByteProgress(done, total, rate)).toBe(line);
  });

  test('is printed at most four times a second, with the rate of the last seconds, and always at the end', () => {
    const lines: string[] = [];
    const clock = { now: 0 };
    const reportBytes = createByteMeter(
      (line) => lines.push(line),
      '',
      () => clock.now,
    );
    for (let mega = 0; mega <= 1000; mega += 1) {
      reportBytes(mega * 1e6, 1000.5e6);
      // Slow at first.
      clock.now += mega < 200 ? 100 : 10;
    }
    reportBytes(1000.5e6, 1000.5e6);
    expect(lines.length).toBeLessThanOrEqual((200 * 100 + 801 * 10) / 250 + 2);
    expect(lines.length).toBeGreaterThan(80);
    expect(lines).toContain('99 of 1001 MB (9 %), 10 MB/s, 2 min left');
    expect(lines.at(-2)).toMatch(/^9\d\d of 1001 MB \(9\d %\), 100 MB\/s, 1 s left$/);
    expect(lines.at(-1)).toBe('1001 of 1001 MB (100 %), 100 MB/s, 0 s left');
  });
});

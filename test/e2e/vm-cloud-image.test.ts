import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { access, mkdir, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bedCache } from '../bed/bed-host.ts';
import { expectSuccess, type User } from './test-user.ts';
import { describeOnVm, runInVmOrThrow, createVmUser, countVmEngineStarts, VM_TIMEOUT_SECONDS } from './vm-user.ts';

const cloudImageScript = fileURLToPath(new URL('../bed/cloud-image.sh', import.meta.url));
/** The image names it in its package source, so it is the same in each run. */
const PACKAGES_PORT = 18_765;

/** A cloud image like a vendor's, and the folder with the packages that it can install. */
type CloudImage = { readonly file: string; readonly packages: string };

/** Builds the cloud image once for each version of the script. */
async function ensureCloudImage(user: User): Promise<CloudImage> {
  const digest = createHash('sha256')
    .update(await readFile(cloudImageScript))
    .digest('hex')
    .slice(0, 12);
  const folder = join(bedCache.folder, 'cloud', digest);
  const image = { file: join(folder, 'disk.qcow2'), packages: join(folder, 'packages') };
  const exists = await access(folder).then(
    () => true,
    () => false,
  );
  if (exists) return image;
  const stage = `${folder}.new`;
  await rm(stage, { recursive: true, force: true });
  await mkdir(stage, { recursive: true });
  const disk = join(stage, 'disk');
  await expectSuccess(
    user.run('bash', [cloudImageScript, `${disk}.raw`, join(stage, 'packages'), String(PACKAGES_PORT)]),
  );
  await expectSuccess(user.run('qemu-img', ['convert', '-O', 'qcow2', `${disk}.raw`, `${disk}.qcow2`]));
  await rm(`${disk}.raw`);
  await rename(stage, folder);
  return image;
}

/** Serves files on 127.0.0.1, which a VM reaches at 10.0.2.2. */
async function serveFiles(port: number, findFile: (path: string) => string): Promise<Server & { requests: string[] }> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '');
    requests.push(path);
    const file = findFile(path);
    stat(file).then(
      ({ size }) => {
        response.writeHead(200, { 'content-length': size });
        createReadStream(file).pipe(response);
      },
      () => response.writeHead(404).end(),
    );
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  return Object.assign(server, { requests });
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha512');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

describeOnVm("a vendor's cloud image", { timeout: 2 * VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  let images: Awaited<ReturnType<typeof serveFiles>>;
  let packages: Awaited<ReturnType<typeof serveFiles>>;
  let url = '';
  let digest = '';

  beforeAll(async () => {
    user = await createVmUser();
    // This user shares no images with other tests.
    await unlink(join(user.home, '.slipway', 'images'));
    const image = await ensureCloudImage(user);
    digest = `sha512:${await hashFile(image.file)}`;
    images = await serveFiles(0, () => image.file);
    packages = await serveFiles(PACKAGES_PORT, (path) => join(image.packages, basename(path)));
    url = `http://127.0.0.1:${(images.address() as AddressInfo).port}/cloud.qcow2`;
  }, VM_TIMEOUT_SECONDS * 1000);
  afterAll(async () => {
    for (const server of [images, packages]) server.close();
    await user[Symbol.asyncDispose]();
  });

  test('needs its digest, and is refused with another one before anything is started', async () => {
    const without = await user.slipway('create', 'cloud', '--image', url);
    expect([without.code, without.stderr]).toEqual([2, expect.stringContaining('needs its digest') as string]);
    expect(images.requests).toEqual([]);
    const wrong = await user.slipway('create', 'cloud', '--image', url, '--image-digest', `sha512:${'0'.repeat(128)}`);
    expect([wrong.code, wrong.stderr]).toEqual([12, expect.stringContaining(digest.slice(7, 40)) as string]);
    expect((await user.slipway('ls', '--quiet')).stdout.trim()).toBe('');
  });

  test('is downloaded, gets its engine once, and then starts like a built image', async () => {
    await expectSuccess(user.slipway('create', 'cloud', '--image', url, '--image-digest', digest));
    const { stdout } = await expectSuccess(user.docker('--context', 'cloud', 'info', '--format', '{{.Name}}'));
    expect(stdout.trim()).toBe('cloud');
    expect(await countVmEngineStarts(user, 'cloud')).toBe(1);
    // The vendor's system downloaded its engine over the network of its VM.
    expect(packages.requests).toContainEqual(expect.stringMatching(/docker\.io_.*\.deb$/));
    expect(await runInVmOrThrow(user, 'cloud', 'hostname; whoami')).toBe('cloud\nslipway');
    // Its partition and its file system fill the requested disk.
    expect(
      Number(await runInVmOrThrow(user, 'cloud', 'df --output=size -BG / | tail -n 1 | tr -dc 0-9')),
    ).toBeGreaterThanOrEqual(19);
    expect((await expectSuccess(user.slipway('provision', 'cloud', '--dry-run'))).stdout.trim()).toBe(
      'cloud: nothing to do',
    );
  });

  test('is stored: it is not downloaded or installed again, and no temporary file is left', async () => {
    const before = [images.requests.length, packages.requests.length];
    const secondPull = await expectSuccess(user.slipway('image', 'pull', '--url', url, '--digest', digest));
    expect(secondPull.stdout).toContain('is already here');
    expect([images.requests.length, packages.requests.length]).toEqual(before);
    const store = join(user.home, '.slipway', 'images');
    expect((await readdir(store)).filter((entry) => entry.startsWith('.new-'))).toEqual([]);
    expect(await readdir(join(store, '.downloads')).catch(() => [])).toEqual([]);
    expect((await expectSuccess(user.slipway('image', 'ls'))).stdout).toMatch(/cloud/);
  });
});

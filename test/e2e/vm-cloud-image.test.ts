import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, mkdir, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bedCache } from '../bed/bed-host.ts';
import { expectSuccess, type User } from './test-user.ts';
import { describeOnVm, runInVmOrThrow, createVmUser, countVmEngineStarts, VM_TIMEOUT_SECONDS } from './vm-user.ts';

const cloudImageScript = fileURLToPath(new URL('../bed/cloud-image.sh', import.meta.url));

/** Returns a cloud image like a vendor's; builds it once for each version of the script. */
async function ensureCloudImage(user: User): Promise<string> {
  const digest = createHash('sha256')
    .update(await readFile(cloudImageScript))
    .digest('hex')
    .slice(0, 12);
  const folder = join(bedCache.folder, 'cloud');
  const file = join(folder, `cloud-${digest}.qcow2`);
  const exists = await access(file).then(
    () => true,
    () => false,
  );
  if (exists) return file;
  await mkdir(folder, { recursive: true });
  await expectSuccess(user.run('bash', [cloudImageScript, `${file}.raw`]));
  await expectSuccess(user.run('qemu-img', ['convert', '-O', 'qcow2', `${file}.raw`, `${file}.new`]));
  await rm(`${file}.raw`);
  await rename(`${file}.new`, file);
  return file;
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha512');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

describeOnVm("a vendor's cloud image", { timeout: 2 * VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  let server: Server;
  let url = '';
  let digest = '';
  let downloads = 0;

  beforeAll(async () => {
    user = await createVmUser();
    // This user shares no images with other tests.
    await unlink(join(user.home, '.slipway', 'images'));
    const file = await ensureCloudImage(user);
    const { size } = await stat(file);
    digest = `sha512:${await hashFile(file)}`;
    server = createServer((_request, response) => {
      downloads += 1;
      response.writeHead(200, { 'content-length': size });
      createReadStream(file).pipe(response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as { port: number }).port}/cloud.qcow2`;
  }, VM_TIMEOUT_SECONDS * 1000);
  afterAll(async () => {
    server.close();
    await user[Symbol.asyncDispose]();
  });

  test('needs its digest, and is refused with another one before anything is started', async () => {
    const without = await user.slipway('create', 'cloud', '--image', url);
    expect([without.code, without.stderr]).toEqual([2, expect.stringContaining('needs its digest') as string]);
    expect(downloads).toBe(0);
    const wrong = await user.slipway('create', 'cloud', '--image', url, '--image-digest', `sha512:${'0'.repeat(128)}`);
    expect([wrong.code, wrong.stderr]).toEqual([12, expect.stringContaining(digest.slice(7, 40)) as string]);
    expect((await user.slipway('ls', '--quiet')).stdout.trim()).toBe('');
  });

  test('is downloaded, gets its engine once, and then starts like a built image', async () => {
    await expectSuccess(user.slipway('create', 'cloud', '--image', url, '--image-digest', digest));
    const { stdout } = await expectSuccess(user.docker('--context', 'cloud', 'info', '--format', '{{.Name}}'));
    expect(stdout.trim()).toBe('cloud');
    expect(await countVmEngineStarts(user, 'cloud')).toBe(1);
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
    const before = downloads;
    const secondPull = await expectSuccess(user.slipway('image', 'pull', '--url', url, '--digest', digest));
    expect(secondPull.stdout).toContain('is already here');
    expect(downloads).toBe(before);
    const images = join(user.home, '.slipway', 'images');
    expect((await readdir(images)).filter((entry) => entry.startsWith('.new-'))).toEqual([]);
    expect(await readdir(join(images, '.downloads')).catch(() => [])).toEqual([]);
    expect((await expectSuccess(user.slipway('image', 'ls'))).stdout).toMatch(/cloud/);
  });
});

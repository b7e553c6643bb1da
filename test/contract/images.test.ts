import { once } from 'node:events';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { shortDigest } from '../../src/images/image.ts';
import { openImageStore } from '../../src/images/image-store.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { addImage } from '../fakes/fake-images.ts';
import { runProgram, type ProgramResult } from '../fakes/run-program.ts';

const slipwayProgram = fileURLToPath(new URL('../../dist/slipway.js', import.meta.url));
const runImageCommand = (home: string, ...argv: readonly string[]): Promise<ProgramResult> =>
  runProgram(process.execPath, [slipwayProgram, 'image', ...argv], {
    env: { PATH: process.env.PATH, HOME: '/', SLIPWAY_HOME: home },
  });

async function writeVmRecord(home: string, name: string, image: string): Promise<void> {
  await mkdir(join(home, 'vms', name), { recursive: true });
  await writeFile(join(home, 'vms', name, 'vm.json'), JSON.stringify({ name, image }));
}

test('image ls shows each image, which machines use it, and what is wrong with a broken one', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const built = await addImage(images);
  const source = {
    kind: 'baked',
    url: 'https://x.example/images/d.qcow2',
    digest: `sha512:${'ab'.repeat(64)}`,
  } as const;
  const baked = await addImage(images, { name: 'mine', arch: 'arm64', engine: '', source }, 'baked');
  const broken = await addImage(images, { name: 'torn' }, 'torn');
  await rm(images.paths(broken).record);
  await writeVmRecord(home.path, 'dev', built.digest);
  await writeVmRecord(home.path, 'web', built.digest);

  const { code, stdout, stderr } = await runImageCommand(home.path, 'ls');
  expect([code, stderr]).toEqual([0, '']);
  const [head, ...rows] = stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {3,}/));
  expect(head).toEqual(['NAME', 'ARCH', 'DIGEST', 'ENGINE', 'SIZE', 'CREATED', 'SOURCE', 'USED BY', 'SPARES']);
  expect(rows[0]).toEqual([
    'debian-13',
    'amd64',
    shortDigest(built.digest),
    '28.5.2',
    '1 MB',
    '2026-02-03',
    'packages of trixie',
    'dev, web',
  ]);
  expect(rows[1]).toEqual(['mine', 'arm64', shortDigest(baked.digest), '-', '1 MB', '2026-02-03', 'd.qcow2']);
  expect(rows[2]?.join(' ')).toMatch(/^torn amd64 .*its image\.json is missing$/);

  const document = JSON.parse((await runImageCommand(home.path, 'ls', '--json')).stdout) as readonly object[];
  expect(document[0]).toMatchObject({ name: 'debian-13', digest: built.digest, usedBy: ['dev', 'web'], trouble: '' });
  expect(document[1]).toMatchObject({ name: 'mine', source });
  expect((await runImageCommand(home.path, 'ls', '-q')).stdout.trim().split('\n')).toEqual(
    [built, baked, broken].map(({ digest }) => shortDigest(digest)),
  );
});

test('image rm accepts names and digests, removes broken images, and removes nothing when one image is in use', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const used = await addImage(images);
  await addImage(images, { name: 'mine' }, 'mine');
  const torn = await addImage(images, { name: 'torn' }, 'torn');
  await rm(images.paths(torn).record);
  await writeVmRecord(home.path, 'dev', used.digest);

  const refusal = await runImageCommand(home.path, 'rm', 'mine', 'debian-13');
  expect(refusal).toMatchObject({ code: 3, stdout: '' });
  expect(refusal.stderr).toBe(
    '✗ Image "debian-13" is in use by dev\n→ Their disks are based on it. Remove them first: slipway rm dev\n',
  );
  expect(await images.list()).toHaveLength(3);

  expect(await runImageCommand(home.path, 'rm', 'mine', torn.digest.slice(0, 15))).toMatchObject({
    code: 0,
    stderr: '',
  });
  expect((await images.list()).map(({ key }) => key.name)).toEqual(['debian-13']);
  expect((await runImageCommand(home.path, 'rm', 'nothing')).stderr).toBe(
    '✗ Image "nothing" does not exist\n→ Existing images: debian-13. For details: slipway image ls\n',
  );
  await rm(join(home.path, 'vms'), { recursive: true });
  expect(await runImageCommand(home.path, 'rm', 'debian-13')).toMatchObject({ code: 0 });
  expect(await readdir(join(home.path, 'images'))).toEqual(['.locks']);
});

test('image rm keeps a broken image that a machine uses', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const torn = await addImage(images);
  await rm(images.paths(torn).record);
  await writeVmRecord(home.path, 'dev', torn.digest);
  expect((await runImageCommand(home.path, 'rm', 'debian-13')).code).toBe(3);
  expect(await images.list()).toHaveLength(1);
});

test('image rm asks for a digest when a name matches several images', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const recent = await addImage(images, { made: '2026-03-01T00:00:00.000Z' }, 'recent');
  const old = await addImage(images, { made: '2026-01-01T00:00:00.000Z' }, 'old');
  const { code, stderr } = await runImageCommand(home.path, 'rm', 'debian-13');
  expect(code).toBe(2);
  expect(stderr).toContain(
    `"debian-13" matches 2 images: ${shortDigest(recent.digest)} and ${shortDigest(old.digest)}`,
  );
  expect((await runImageCommand(home.path, 'rm', shortDigest(old.digest))).code).toBe(0);
  expect((await images.list()).map(({ key }) => key.digest)).toEqual([recent.digest.slice(0, 19)]);
});

test('image warm needs no port of this computer, even when ports for machines are set', async () => {
  await using home = await createTemporaryFolder();
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  // The command stops at the missing program that builds the image.
  const env = { PATH: '/nowhere', HOME: '/', SLIPWAY_HOME: home.path, SLIPWAY_QEMU_SSH_PORT: String(port) };
  const { code, stderr } = await runProgram(process.execPath, [slipwayProgram, 'image', 'warm'], { env });
  server.close();
  expect([code, stderr]).toEqual([11, expect.stringContaining('Missing on this computer: mmdebstrap') as string]);
});

test('image build does nothing when the image exists, and says how to create it again', async () => {
  await using home = await createTemporaryFolder();
  const image = await addImage(openImageStore(home.path));
  expect(await runImageCommand(home.path, 'build', '--arch', 'amd64')).toEqual({
    code: 0,
    stdout: `debian-13 (amd64) is already here: ${image.digest}\nTo create it again: slipway image build debian-13 --force\n`,
    stderr: '',
  });
});

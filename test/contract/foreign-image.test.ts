import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeImage } from '../../src/drivers/qemu/vm-image.ts';
import { openImageStore } from '../../src/images/image-store.ts';
import type { Progress } from '../../src/progress.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { computerWithPrograms, writeScript } from '../fakes/executable-scripts.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const BUILDERS = ['apt-get', 'mmdebstrap', 'mke2fs', 'fakeroot', 'qemu-img', 'qemu-aarch64-static'];

test('an image for arm64 is built only where programs for arm64 run, and the refusal names the download', async () => {
  await using folder = await createTemporaryFolder();
  const computer = computerWithPrograms(folder.path, { env: { PATH: join(folder.path, 'bin') } });
  const bin = join(folder.path, 'bin');
  for (const program of BUILDERS) await writeScript(join(bin, program), 'exit 0');
  await writeScript(join(bin, 'arch-test'), 'echo "$@" >"$0.asked"; exit 1');
  const images = openImageStore(computer.home);
  const progress: Progress = {
    step: async (_id, _title, work) => work(() => {}),
    lastStepId: () => '',
    note: () => {},
  };
  const call = { computer, images, progress, signal: new AbortController().signal };
  const build = (arch: 'amd64' | 'arm64') => catchRejection(makeImage({ how: 'build', name: 'debian-13', arch }, call));

  const refused = await build('arm64');
  expect(await readFile(join(bin, 'arch-test.asked'), 'utf8')).toBe('arm64\n');
  expect([refused?.code, refused?.message]).toEqual([
    'DRIVER_UNSUPPORTED',
    'The image debian-13 for arm64 could not be built: this computer does not run programs for arm64',
  ]);
  expect(refused?.hint).toContain('slipway image pull debian-13 --arch arm64');

  await chmod(join(bin, 'arch-test'), 0o644);
  const missing = await build('arm64');
  expect([missing?.code, missing?.message]).toEqual([
    'PROGRAM_MISSING',
    'Missing on this computer: arch-test, which finds out which programs this computer can run',
  ]);
  // `doctor` installs only what machines of this computer's own architecture need.
  expect(missing?.hint).toMatch(/^Install it: .*apt-get install .*arch-test/);
  expect((await build('amd64'))?.code, 'the own architecture needs no test').not.toBe('PROGRAM_MISSING');
});

import { createHash } from 'node:crypto';
import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bedCache } from './bed-host.ts';

const REQUIRED_PROGRAMS = ['qemu-system-x86_64', 'qemu-img', 'mmdebstrap', 'mke2fs'];
const imageRecipeFolder = fileURLToPath(new URL('../../templates/image', import.meta.url));

/** Returns why the tests can't create VMs on this computer, as a sentence; undefined where they can. */
export async function findVmProblem(): Promise<string | undefined> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'The tests of local VMs need Linux on x86-64.';
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  for (const program of REQUIRED_PROGRAMS) {
    const found = await Promise.any(folders.map((folder) => access(join(folder, program)))).then(
      () => true,
      () => false,
    );
    if (!found) return `The tests of local VMs need ${program}: slipway doctor --fix installs it.`;
  }
  return undefined;
}

/**
 * Returns the folder of images that all test users share, so that each version of the image's scripts is built once.
 */
export async function resolveImagesFolder(): Promise<string> {
  const files = (await readdir(imageRecipeFolder)).toSorted();
  const hash = createHash('sha256');
  for (const file of files) hash.update(file).update(await readFile(join(imageRecipeFolder, file)));
  return join(bedCache.folder, 'images', hash.digest('hex').slice(0, 12));
}

import { join } from 'node:path';
import { listFolderIfExists, readFileIfExists } from '../computer/files.ts';
import { systemCode } from '../errors.ts';
import type { Image } from './image.ts';

/**
 * Returns the machines whose disks are overlays over this image, from `vms/ID/vm.json`, or `spare.json` if a spare is
 * about to become a machine. A machine whose file can't be read may use any image, so its file counts as a user of
 * each.
 */
export async function findImageUsers(home: string, { digest }: Pick<Image, 'digest'>): Promise<readonly string[]> {
  const root = join(home, 'vms');
  const ids = await listFolderIfExists(root);
  const users = await Promise.all(
    ids.filter((id) => !id.startsWith('.')).map(async (id) => readImageUser(join(root, id), digest)),
  );
  return users.filter((name) => name !== undefined).toSorted();
}

async function readImageUser(folder: string, digest: string): Promise<string | undefined> {
  const path = join(folder, 'vm.json');
  try {
    const vm = await readFileIfExists(path);
    const spare = vm === undefined ? await readFileIfExists(join(folder, 'spare.json')) : undefined;
    if (vm === undefined && spare === undefined) return undefined;
    type Used = { readonly name?: unknown; readonly image?: unknown };
    const { name, image } =
      vm === undefined ? (JSON.parse(spare ?? '') as { readonly vm: Used }).vm : (JSON.parse(vm) as Used);
    if (typeof name !== 'string' || typeof image !== 'string') return path;
    return image.startsWith(digest) ? name : undefined;
  } catch (error) {
    // A stray file beside the folders.
    return systemCode(error) === 'ENOTDIR' ? undefined : path;
  }
}

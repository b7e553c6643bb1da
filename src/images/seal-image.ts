import { chmod, lstat, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { deleteFolder, writeFileAtomic } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import { hashFile } from './hashing.ts';
import { imageFiles, type Image, type ImageFile, type ImageFileState } from './image.ts';

/** What a builder says of its image; the digest and the files follow from the bytes. */
export type ImageDescription = Omit<Image, 'digest' | 'files'>;

/** Turns a builder's folder into an image: deletes other files, makes the rest read-only and syncs it to the disk. */
export async function sealImage(folder: string, about: ImageDescription, signal: AbortSignal): Promise<Image> {
  for (const entry of await readdir(folder))
    if (!(imageFiles as readonly string[]).includes(entry)) await deleteFolder(join(folder, entry));
  const states: [ImageFile, ImageFileState][] = [];
  for (const file of imageFiles) states.push([file, await sealFile(join(folder, file), file, about.name, signal)]);
  const files = Object.fromEntries(states) as Image['files'];
  const image: Image = { ...about, digest: `sha256:${files['disk.qcow2'].sha256}`, files };
  await writeFileAtomic(join(folder, 'image.json'), `${JSON.stringify(image, null, 2)}\n`, 0o400);
  return image;
}

async function sealFile(path: string, file: ImageFile, name: string, signal: AbortSignal): Promise<ImageFileState> {
  const found = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  // A link would leave the content where others can change it.
  if (!found?.isFile() || found.size === 0) throw incompleteImageError(name, file);
  await chmod(path, 0o600);
  const handle = await open(path, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await chmod(path, 0o400);
  const sha256 = await hashFile(path, 'sha256', { signal });
  const { size, mtimeMs } = await stat(path);
  return { sha256, bytes: size, mtimeMs };
}

function incompleteImageError(name: string, file: ImageFile): SlipwayError {
  return new SlipwayError('IMAGE_BUILD', `Image "${name}" was built without its ${file}`, {
    hint: `To see what the build does: slipway image build ${name} --debug`,
  });
}

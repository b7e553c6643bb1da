/**
 * The store's layout. Folders have mode 0700, and files of an image 0400, since machines' disks are overlays over them:
 *
 *   ~/.slipway/images/NAME-ARCH-DIGEST/   image.json disk.qcow2 vmlinuz initrd
 *                     .new-…/             an image that a builder is creating (work-folder.ts)
 *                     .removed-…/         an image that is being deleted
 *                     .downloads/         downloads, also interrupted ones (download.ts)
 *                     .locks/NAME/        held to create or remove images of that name (lock.ts)
 */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  ignoreMissing,
  listFolderIfExists,
  localFileError,
  readFileIfExists,
  renamePath,
  syncFolder,
} from '../computer/files.ts';
import { emptyTrash, moveToTrash } from '../computer/trash.ts';
import { createWorkFolder, removeAbandonedWork, type WorkFolder } from '../computer/work-folder.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import { waitForLock } from '../computer/lock.ts';
import { formatList as inWords } from '../machine/options.ts';
import type { Log } from '../progress.ts';
import { hashFile } from './hashing.ts';
import {
  invalidImageNameError,
  imageFolderName,
  parseImageFolderName,
  imageFiles,
  isImageName,
  parseImage,
  type Arch,
  type Image,
  type ImageFile,
} from './image.ts';
import { createByteMeter } from './byte-meter.ts';
import { sealImage, type ImageDescription } from './seal-image.ts';

export type ImagePaths = {
  readonly folder: string;
  readonly record: string;
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
};

/** What a folder's name tells about its image. `digest` may be abbreviated. */
export type ImageKey = Pick<Image, 'name' | 'arch' | 'digest'>;

/** An image as listed: either intact, or broken with the reason. */
export type ListedImage =
  { readonly key: ImageKey; readonly image: Image } | { readonly key: ImageKey; readonly broken: SlipwayError };

const STAGING_PREFIX = '.new-';

export type ImageStore = {
  /** Returns all images by name, newest first. A broken image is one item of the list. */
  list(): Promise<readonly ListedImage[]>;
  /** Returns the newest intact image. */
  find(name: string, arch: Arch): Promise<Image | undefined>;
  paths(image: ImageKey): ImagePaths;
  /** Reads every byte. Throws IMAGE_CHANGED if one differs. */
  verify(image: Image, call: VerifyCall): Promise<void>;
  /** Compares sizes and times only: fast, but no proof. */
  isUnchanged(image: Image): Promise<boolean>;
  /** Returns the bytes allocated on the disk, without holes. */
  getDiskUsage(image: Image): Promise<number>;
  createStagingFolder(): Promise<WorkFolder>;
  /** Adds the image that a builder created. If the store has the same image already, that one stays and is returned. */
  add(staging: WorkFolder, about: ImageDescription, signal?: AbortSignal): Promise<Image>;
  /** Throws IMAGE_IN_USE if it has users. Hides the image first, then deletes it. */
  remove(image: ImageKey, usedBy: readonly string[]): Promise<void>;
  /** Deletes what killed builds and removals left. */
  removeLeftovers(): Promise<void>;
  /** Takes the lock for creating or removing images of this name. Waits, and notes who holds it. */
  lock(name: string, call: LockCall): Promise<AsyncDisposable>;
};

type VerifyCall = { readonly signal: AbortSignal; readonly log: Log };
type LockCall = { readonly signal: AbortSignal; readonly note: (text: string) => void };

export function openImageStore(home: string): ImageStore {
  const root = join(home, 'images');
  return {
    paths: (image) => imagePaths(root, image),
    list: () => listImages(root),
    find: (name, arch) => findImage(root, name, arch),
    verify: (image, call) => verifyFiles(imagePaths(root, image).folder, image, call),
    isUnchanged: (image) => isUnchanged(imagePaths(root, image).folder, image),
    getDiskUsage: (image) => getDiskUsage(imagePaths(root, image).folder),
    createStagingFolder: () => createStagingFolder(root),
    add: (staging, about, signal) => addImage(root, staging.folder, about, signal),
    remove: (image, usedBy) => removeImage(root, image, usedBy),
    removeLeftovers: () => removeLeftovers(root),
    lock: (name, call) => lockImageName(root, name, call),
  };
}

function imagePaths(root: string, image: ImageKey): ImagePaths {
  const folder = join(root, imageFolderName(image));
  return {
    folder,
    record: join(folder, 'image.json'),
    disk: join(folder, 'disk.qcow2'),
    kernel: join(folder, 'vmlinuz'),
    initrd: join(folder, 'initrd'),
  };
}

async function listImages(root: string): Promise<readonly ListedImage[]> {
  const keys = (await listFolderIfExists(root)).map(parseImageFolderName).filter((key) => key !== undefined);
  const all = (await Promise.all(keys.map((key) => readImage(root, key)))).filter((item) => item !== undefined);
  const { compare } = new Intl.Collator('en', { numeric: true });
  const made = (item: ListedImage): string => ('image' in item ? item.image.made : '');
  return all.toSorted(
    (left, right) =>
      compare(left.key.name, right.key.name) ||
      compare(left.key.arch, right.key.arch) ||
      compare(made(right), made(left)),
  );
}

async function readImage(root: string, key: ImageKey): Promise<ListedImage | undefined> {
  const { folder, record } = imagePaths(root, key);
  try {
    const text = await readFileIfExists(record);
    if (text !== undefined) return { key, image: parseImage(imageFolderName(key), text) };
    // The image was removed in the meantime, or never completed.
    if (!(await isPresent(folder))) return undefined;
    throw new Error('its image.json is missing');
  } catch (error) {
    return { key, broken: brokenImageError(key, folder, error) };
  }
}

async function findImage(root: string, name: string, arch: Arch): Promise<Image | undefined> {
  for (const item of await listImages(root))
    if ('image' in item && item.key.name === name && item.key.arch === arch) return item.image;
  return undefined;
}

async function verifyFiles(folder: string, image: Image, { signal, log }: VerifyCall): Promise<void> {
  const total = imageFiles.reduce((sum, file) => sum + image.files[file].bytes, 0);
  const reportBytes = createByteMeter(log, 'Checked ');
  let previousBytes = 0;
  for (const file of imageFiles) {
    const actual = await hashFile(join(folder, file), 'sha256', {
      signal,
      done: (bytes) => reportBytes(previousBytes + bytes, total),
    }).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw localFileError(join(folder, file), error);
    });
    if (actual !== image.files[file].sha256) throw imageChangedError(image, file, actual);
    previousBytes += image.files[file].bytes;
  }
}

async function isUnchanged(folder: string, image: Image): Promise<boolean> {
  const states = await Promise.all(imageFiles.map((file) => ignoreMissing(stat(join(folder, file)))));
  return imageFiles.every((file, index) => {
    const { bytes, mtimeMs } = image.files[file];
    return states[index]?.size === bytes && states[index].mtimeMs === mtimeMs;
  });
}

async function getDiskUsage(folder: string): Promise<number> {
  const sizes = await Promise.all(
    imageFiles.map(async (file) => {
      const state = await ignoreMissing(stat(join(folder, file)));
      // Windows does not report blocks.
      return state === undefined ? 0 : (state.blocks ?? 0) * 512 || state.size;
    }),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function createStagingFolder(root: string): Promise<WorkFolder> {
  try {
    await cleanUp(root);
    return await createWorkFolder(root, STAGING_PREFIX);
  } catch (error) {
    throw localFileError(root, error);
  }
}

async function addImage(
  root: string,
  folder: string,
  about: ImageDescription,
  signal: AbortSignal | undefined,
): Promise<Image> {
  try {
    const image = await sealImage(folder, about, signal ?? new AbortController().signal);
    const target = imagePaths(root, image).folder;
    const existing = await findExisting(root, image);
    if (existing) return existing;
    // A damaged image with the same digest is replaced.
    await moveToTrash(target);
    await renamePath(folder, target);
    await syncFolder(root);
    return image;
  } catch (error) {
    throw localFileError(folder, error);
  }
}

/** Returns the image at this image's path, if it is intact. */
async function findExisting(root: string, image: Image): Promise<Image | undefined> {
  const existing = await readImage(root, image);
  return existing && 'image' in existing && (await isUnchanged(imagePaths(root, image).folder, existing.image))
    ? existing.image
    : undefined;
}

async function removeImage(root: string, image: ImageKey, usedBy: readonly string[]): Promise<void> {
  if (usedBy.length > 0) throw imageInUseError(image, usedBy);
  const { folder } = imagePaths(root, image);
  try {
    await moveToTrash(folder);
    await cleanUp(root);
  } catch (error) {
    throw localFileError(folder, error);
  }
}

async function removeLeftovers(root: string): Promise<void> {
  try {
    await cleanUp(root);
  } catch (error) {
    throw localFileError(root, error);
  }
}

async function cleanUp(root: string): Promise<void> {
  await emptyTrash(root);
  await removeAbandonedWork(root, STAGING_PREFIX);
}

async function lockImageName(root: string, name: string, { signal, note }: LockCall): Promise<AsyncDisposable> {
  if (!isImageName(name)) throw invalidImageNameError(name);
  const folder = join(root, '.locks', name);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw localFileError(folder, error);
  }
  return waitForLock(folder, `Image "${name}"`, {
    signal,
    waiting: (who) => note(`${who}: waiting for it to end`),
  });
}

async function isPresent(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    },
  );
}

function imageChangedError(image: Image, file: ImageFile, actual: string | undefined): SlipwayError {
  const what = actual === undefined ? `${file} is missing` : `${file} does not match what was built (sha256 ${actual})`;
  const { source, name } = image;
  const argv = source.kind === 'built' ? `build ${name}` : `pull ${name} --url ${source.url} --digest ${source.digest}`;
  return new SlipwayError('IMAGE_CHANGED', `Image "${image.name}" has changed on disk: ${what}`, {
    hint: `Create it again: slipway image ${argv} --force. Machines that use it need it unchanged`,
  });
}

function imageInUseError({ name }: ImageKey, usedBy: readonly string[]): SlipwayError {
  return new SlipwayError('IMAGE_IN_USE', `Image "${name}" is in use by ${inWords(usedBy)}`, {
    hint: `Their disks are based on it. Remove them first: slipway rm ${usedBy.join(' ')}`,
  });
}

function brokenImageError(key: ImageKey, folder: string, error: unknown): SlipwayError {
  const code = systemCode(error);
  const why = code === undefined ? (error as Error).message : `it can't be read (${code})`;
  return new SlipwayError('RECORD_BROKEN', `The image in ${folder} can't be used: ${why}`, {
    hint: `Remove it: slipway image rm ${key.digest.replace('sha256:', '')}`,
    cause: error,
  });
}

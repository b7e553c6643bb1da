/**
 * The store's layout. Folders have mode 0700, and files of an image 0400, since machines' disks are overlays over them:
 *
 *   ~/.slipway/images/NAME-ARCH-DIGEST/   image.json disk.qcow2 vmlinuz initrd
 *                     .new-PID-…/         an image that a builder is creating
 *                     .removed-…/         an image that is being deleted
 *                     .downloads/         downloads, also interrupted ones (download.ts)
 *                     .locks/NAME/        held to create or remove images of that name (lock.ts)
 */
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  listFolderIfExists,
  localFileError,
  readFileIfExists,
  syncFolder,
  writeFileAtomic,
} from '../computer/files.ts';
import { isProcessAlive } from '../computer/process-identity.ts';
import { emptyTrash, moveToTrash } from '../computer/trash.ts';
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
  type ImageFileState,
  type Image,
  type ImageFile,
} from './image.ts';
import { createByteMeter } from './byte-meter.ts';

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

/** A folder for a builder to fill. It is deleted at the end of its scope, with what is still in it. */
export type StagingFolder = AsyncDisposable & { readonly folder: string };

export type ImageStore = {
  /** Returns all images by name, newest first. A broken image is one item of the list. */
  list(): Promise<readonly ListedImage[]>;
  /** Returns the newest intact image. */
  find(name: string, arch: Arch): Promise<Image | undefined>;
  paths(image: ImageKey): ImagePaths;
  /** Reads every byte. Throws IMAGE_CHANGED if one differs. */
  verify(image: Image, call: { readonly signal: AbortSignal; readonly log: Log }): Promise<void>;
  /** Compares sizes and times only: fast, but no proof. */
  isUnchanged(image: Image): Promise<boolean>;
  /** Returns the bytes allocated on the disk, without holes. */
  getDiskUsage(image: Image): Promise<number>;
  createStagingFolder(): Promise<StagingFolder>;
  /** Adds the image that a builder created. If the store has the same image already, that one stays and is returned. */
  add(staging: StagingFolder, about: Omit<Image, 'digest' | 'files'>, signal?: AbortSignal): Promise<Image>;
  /** Throws IMAGE_IN_USE if it has users. Hides the image first, then deletes it. */
  remove(image: ImageKey, usedBy: readonly string[]): Promise<void>;
  /** Takes the lock for creating or removing images of this name. Waits, and notes who holds it. */
  lock(
    name: string,
    call: { readonly signal: AbortSignal; readonly note: (text: string) => void },
  ): Promise<AsyncDisposable>;
};

export function openImageStore(home: string): ImageStore {
  const root = join(home, 'images');

  function paths(image: ImageKey): ImagePaths {
    const folder = join(root, imageFolderName(image));
    return {
      folder,
      record: join(folder, 'image.json'),
      disk: join(folder, 'disk.qcow2'),
      kernel: join(folder, 'vmlinuz'),
      initrd: join(folder, 'initrd'),
    };
  }

  async function read(key: ImageKey): Promise<ListedImage | undefined> {
    const { folder, record } = paths(key);
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

  async function list(): Promise<readonly ListedImage[]> {
    const keys = (await listFolderIfExists(root)).map(parseImageFolderName).filter((key) => key !== undefined);
    const all = (await Promise.all(keys.map(read))).filter((item) => item !== undefined);
    const { compare } = new Intl.Collator('en', { numeric: true });
    const made = (item: ListedImage): string => ('image' in item ? item.image.made : '');
    return all.toSorted(
      (left, right) =>
        compare(left.key.name, right.key.name) ||
        compare(left.key.arch, right.key.arch) ||
        compare(made(right), made(left)),
    );
  }

  async function isUnchanged(image: Image): Promise<boolean> {
    const { folder } = paths(image);
    const states = await Promise.all(imageFiles.map((file) => stat(join(folder, file)).catch(() => undefined)));
    return imageFiles.every((file, index) => {
      const { bytes, mtimeMs } = image.files[file];
      return states[index]?.size === bytes && states[index].mtimeMs === mtimeMs;
    });
  }

  /** Deletes what killed builds and removals left. A folder's name tells only the process ID, not its start time. */
  async function cleanUp(): Promise<void> {
    await emptyTrash(root);
    for (const entry of await listFolderIfExists(root)) {
      const pid = /^\.new-(\d+)-/.exec(entry)?.[1];
      if (pid !== undefined && !(await isProcessAlive({ pid: Number(pid), started: '' })))
        await rm(join(root, entry), { recursive: true, force: true });
    }
  }

  /** Returns the image at this image's path, if it is intact. */
  async function findExisting(image: Image): Promise<Image | undefined> {
    const existing = await read(image);
    return existing && 'image' in existing && (await isUnchanged(existing.image)) ? existing.image : undefined;
  }

  return {
    paths,
    list,
    isUnchanged,
    async find(name, arch) {
      for (const item of await list())
        if ('image' in item && item.key.name === name && item.key.arch === arch) return item.image;
      return undefined;
    },
    async verify(image, { signal, log }) {
      const { folder } = paths(image);
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
    },
    async getDiskUsage(image) {
      const { folder } = paths(image);
      const sizes = await Promise.all(
        imageFiles.map(async (file) => {
          const state = await stat(join(folder, file)).catch(() => undefined);
          // Windows does not report blocks.
          return state === undefined ? 0 : (state.blocks ?? 0) * 512 || state.size;
        }),
      );
      return sizes.reduce((sum, size) => sum + size, 0);
    },
    async createStagingFolder() {
      const folder = join(root, `.new-${process.pid}-${randomBytes(6).toString('hex')}`);
      try {
        await cleanUp();
        await mkdir(folder, { recursive: true, mode: 0o700 });
      } catch (error) {
        throw localFileError(folder, error);
      }
      return {
        folder,
        async [Symbol.asyncDispose]() {
          await rm(folder, { recursive: true, force: true });
        },
      };
    },
    async add({ folder }, about, signal = new AbortController().signal) {
      try {
        const image = await sealImage(folder, about, signal);
        const target = paths(image).folder;
        const existing = await findExisting(image);
        if (existing) return existing;
        // A damaged image with the same digest is replaced.
        await moveToTrash(target);
        await rename(folder, target);
        await syncFolder(root);
        return image;
      } catch (error) {
        throw localFileError(folder, error);
      }
    },
    async remove(image, usedBy) {
      if (usedBy.length > 0) throw imageInUseError(image, usedBy);
      const { folder } = paths(image);
      try {
        await moveToTrash(folder);
        await cleanUp();
      } catch (error) {
        throw localFileError(folder, error);
      }
    },
    async lock(name, { signal, note }) {
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
    },
  };
}

/** Turns a builder's folder into an image: deletes other files, makes the rest read-only and syncs it to the disk. */
async function sealImage(folder: string, about: Omit<Image, 'digest' | 'files'>, signal: AbortSignal): Promise<Image> {
  for (const entry of await readdir(folder))
    if (!(imageFiles as readonly string[]).includes(entry)) await rm(join(folder, entry), { recursive: true });
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

async function isPresent(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    },
  );
}

function incompleteImageError(name: string, file: ImageFile): SlipwayError {
  return new SlipwayError('IMAGE_BUILD', `Image "${name}" was built without its ${file}`, {
    hint: `To see what the build does: slipway image build ${name} --debug`,
  });
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

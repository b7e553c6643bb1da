import { basename } from 'node:path';
import type { Computer } from '../computer/computer.ts';
import { SlipwayError } from '../errors.ts';

/** Processor architectures, as Debian names them. */
export const archs = ['amd64', 'arm64'] as const;
export type Arch = (typeof archs)[number];

/** The files from which a local VM boots, largest first. */
export const imageFiles = ['disk.qcow2', 'vmlinuz', 'initrd'] as const;
export type ImageFile = (typeof imageFiles)[number];

export type ImageFileState = { readonly sha256: string; readonly bytes: number; readonly mtimeMs: number };

export type ImageSource =
  | { readonly kind: 'built'; readonly suite: string }
  /** `digest` is that of the downloaded file: `sha512:…`. */
  | { readonly kind: 'baked'; readonly url: string; readonly digest: string };

/** A root disk with the kernel and initrd that boot it directly: the content of its folder's image.json. */
export type Image = {
  readonly version: 1;
  readonly name: string;
  readonly arch: Arch;
  /** `sha256:…` of disk.qcow2, by which machines identify their image. */
  readonly digest: string;
  readonly files: Readonly<Record<ImageFile, ImageFileState>>;
  /** The kernel's root=: `/dev/vda`, `PARTUUID=…`. */
  readonly root: string;
  /** The version of the engine in the image; '' for none. */
  readonly engine: string;
  /** The time of creation, in ISO 8601. */
  readonly made: string;
  readonly source: ImageSource;
};

/** Allows only names that are safe in a path, a lock's name and a shell's command line. */
export function isImageName(name: string): boolean {
  return /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(name) && !name.includes('..');
}

export function invalidImageNameError(name: string): SlipwayError {
  return new SlipwayError('USAGE', `${JSON.stringify(name)} can't be the name of an image`, {
    hint: 'Use lower-case letters, digits, dots and hyphens: debian-13',
  });
}

/** Names an image that is not in the catalog by its file and its digest: `mine.qcow2` -> `mine-0123456789ab`. */
export function imageNameFor(path: string, digest: string): string {
  const stem = basename(path.replaceAll('\\', '/'))
    .toLowerCase()
    .replace(/(\.[a-z][a-z0-9]*)+$/, '')
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 40)
    .replaceAll(/^-+|-+$/g, '');
  return `${stem || 'image'}-${shortDigest(digest)}`;
}

/** `sha256:0123456789abcdef…` -> `0123456789ab`. */
export function shortDigest(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1).slice(0, 12);
}

/** Returns the name of an image's folder, which is the same on every computer. */
export function imageFolderName({ name, arch, digest }: Pick<Image, 'name' | 'arch' | 'digest'>): string {
  if (!isImageName(name)) throw invalidImageNameError(name);
  return `${name}-${arch}-${shortDigest(digest)}`;
}

/** Parses a folder's name, which is reliable even if its image.json is not. `digest` is abbreviated. */
export function parseImageFolderName(folder: string): Pick<Image, 'name' | 'arch' | 'digest'> | undefined {
  const [, name = '', arch = '', hex = ''] = /^(.+)-(amd64|arm64)-([0-9a-f]{12})$/.exec(folder) ?? [];
  return isImageName(name) ? { name, arch: arch as Arch, digest: `sha256:${hex}` } : undefined;
}

/** Returns the architecture that this computer runs without emulation. */
export function archOf(computer: Pick<Computer, 'arch'>): Arch {
  const byNodeName: Readonly<Record<string, Arch>> = { x64: 'amd64', arm64: 'arm64' };
  const arch = byNodeName[computer.arch];
  if (arch !== undefined) return arch;
  throw new SlipwayError(
    'DRIVER_UNSUPPORTED',
    `There are no local images for this computer's processor (${computer.arch})`,
    {
      hint: 'Use a machine elsewhere: slipway create web --driver generic --generic-ip-address 192.0.2.10',
    },
  );
}

/** Parses an image.json. Throws an error with a reason for the user. */
export function parseImage(folder: string, text: string): Image {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(text.trim() === '' ? 'its image.json is empty' : 'its image.json is not JSON', { cause: error });
  }
  const image = value as Partial<Image> | null;
  if (typeof image !== 'object' || image === null) throw new Error('its image.json does not describe an image');
  if (typeof image.version === 'number' && image.version > 1) throw new Error('a newer version of Slipway wrote it');
  const texts = [image.name, image.arch, image.digest, image.root, image.engine, image.made, image.source?.kind];
  const isComplete =
    texts.every((field) => typeof field === 'string') && imageFiles.every((file) => isFileState(image.files, file));
  if (image.version !== 1 || !isComplete) throw new Error('its image.json does not describe an image');
  const complete = image as Image;
  if (
    complete.digest !== `sha256:${complete.files['disk.qcow2'].sha256}` ||
    !isImageName(complete.name) ||
    imageFolderName(complete) !== folder
  )
    throw new Error('its image.json describes another image');
  return complete;
}

function isFileState(files: Partial<Image['files']> | undefined, file: ImageFile): boolean {
  const state = files?.[file];
  return (
    /^[0-9a-f]{64}$/.test(String(state?.sha256)) &&
    typeof state?.bytes === 'number' &&
    typeof state.mtimeMs === 'number'
  );
}

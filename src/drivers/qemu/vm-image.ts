import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { runChild } from '../../computer/child-process.ts';
import { deleteFile, localFileError } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import { buildImage } from '../../images/build-image.ts';
import { requireKnownImage } from '../../images/catalog.ts';
import { download } from '../../images/download.ts';
import { hashFile } from '../../images/hashing.ts';
import { imageNameFor, type Arch, type Image, type ImageSource } from '../../images/image.ts';
import {
  getOrMakeImage,
  type ImageMakeRequest,
  type MakeImage,
  type ImageMakeContext,
} from '../../images/get-or-make-image.ts';
import { fetchPublishedDigest } from '../../images/published-digest.ts';
import { parseImageReference, type ImageReference } from '../../images/image-reference.ts';
import { openImageStore } from '../../images/image-store.ts';
import type { DriverCall } from '../contract.ts';
import { bakeImage, type BakedImage } from './bake-image.ts';
import { finishImage } from './finish-image.ts';
import { guestArchOf, isForeignArch } from './guest-arch.ts';
import type { QemuOptions } from './options.ts';
import {
  archTestProgram,
  buildProgramsFor,
  canBuildImages,
  qemuImgProgram,
  requireProgramPath,
} from './required-programs.ts';

/** The options that decide from which image a machine boots. */
type VmImageOptions = Pick<QemuOptions, 'image'> & Partial<Pick<QemuOptions, 'imageDigest' | 'arch'>>;

/** Returns the image that `--image` and `--image-digest` name. Throws USAGE for an unknown name. */
export function parseImageOptions(options: VmImageOptions): ImageReference {
  const reference = parseImageReference(options.image, options.imageDigest);
  if (reference.kind === 'known') requireKnownImage(reference.name);
  return reference;
}

/** Returns the image that options specify. Creates it if it does not exist on this computer yet. */
export async function ensureImage(options: VmImageOptions, call: DriverCall): Promise<Image> {
  const { computer, signal, log, note } = call;
  const step: ImageMakeContext['progress']['step'] = async (_id, title, work) => {
    log(title);
    return work(log);
  };
  const progress: ImageMakeContext['progress'] = { step: call.step ?? step, lastStepId: () => '', note };
  const images = openImageStore(computer.home);
  const request = await resolveImageRequest(parseImageOptions(options), guestArchOf(options, computer), call);
  // The image usually exists, and then need not wait for a command that creates another one with the same name.
  const existing = request.source === undefined ? await images.find(request.name, request.arch) : undefined;
  if (existing) return existing;
  const { image } = await getOrMakeImage(
    request,
    { force: false, make: makeImage },
    { computer, images, progress, signal },
  );
  return image;
}

/** Returns a request to build the image if this computer can do that, or else to download the vendor's. */
async function resolveImageRequest(
  reference: ImageReference,
  arch: Arch,
  { computer, signal }: DriverCall,
): Promise<ImageMakeRequest> {
  if (reference.kind === 'known')
    return { how: canBuildImages(computer) ? 'build' : 'pull', name: reference.name, arch };
  const url = reference.kind === 'url' ? reference.url : resolve(reference.path);
  const digest = reference.digest ?? `sha512:${await hashImageFile(url, signal)}`;
  return { how: 'pull', name: imageNameFor(url, digest), arch, source: { url, digest } };
}

/** The digests of files, by everything that changes with a file. One command needs a digest several times. */
const digests = new Map<string, string>();

async function hashImageFile(path: string, signal: AbortSignal): Promise<string> {
  const state = await stat(path).catch(() => undefined);
  const key = state && [path, state.dev, state.ino, state.size, state.mtimeMs, state.ctimeMs].join(' ');
  const known = key === undefined ? undefined : digests.get(key);
  if (known !== undefined) return known;
  const digest = await hashExistingFile(path, signal);
  if (key !== undefined) digests.set(key, digest);
  return digest;
}

async function hashExistingFile(path: string, signal: AbortSignal): Promise<string> {
  return await hashFile(path, 'sha512', { signal }).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new SlipwayError('USAGE', `Image file ${path} does not exist`, {
        hint: 'Type the path of a file, a URL with --image-digest, or a name such as debian-13',
        cause: error,
      });
    }
    throw localFileError(path, error);
  });
}

export const makeImage: MakeImage = async (request, call) => {
  const { images, progress, signal } = call;
  await using stage = await images.createStagingFolder();
  const [details, source] =
    request.how === 'build'
      ? await buildFromPackages(request, stage.folder, call)
      : await pullCloudImage(request, stage.folder, call);
  return await progress.step('image-keep', `Store the image ${request.name}`, () =>
    images.add(
      stage,
      { version: 1, name: request.name, arch: request.arch, ...details, made: new Date().toISOString(), source },
      signal,
    ),
  );
};

async function buildFromPackages(
  request: ImageMakeRequest,
  folder: string,
  call: ImageMakeContext,
): Promise<[BakedImage, ImageSource]> {
  const { computer, progress, signal } = call;
  if (!canBuildImages(computer)) {
    throw new SlipwayError(
      'DRIVER_UNSUPPORTED',
      'Building images is not supported on this computer: it needs Debian, Ubuntu or a derived distribution',
      {
        hint: `To download the vendor's instead: slipway image pull ${request.name}`,
      },
    );
  }
  const { suite } = requireKnownImage(request.name);
  for (const program of buildProgramsFor(request.arch, computer)) await requireProgramPath(program, computer);
  await requireRunnableArch(request, call);
  const qemuImg = await requireProgramPath(qemuImgProgram, computer);
  const built = await progress.step(
    'image-build',
    `Build the image ${request.name} (${request.arch}) from signed packages`,
    (log) =>
      buildImage({ suite, arch: request.arch, mirror: request.mirror, qemuImg }, folder, { computer, log, signal }),
  );
  await progress.step('image-finish', 'Start it once to create what depends on its kernel', (log) =>
    finishImage({ arch: request.arch, root: built.root }, folder, {
      computer,
      log,
      note: (text) => progress.note(text),
      signal,
    }),
  );
  return [built, { kind: 'built', suite }];
}

/** Throws DRIVER_UNSUPPORTED if the packages of an image can't run on this computer, which configuring them needs. */
async function requireRunnableArch(
  { name, arch }: ImageMakeRequest,
  { computer, signal }: ImageMakeContext,
): Promise<void> {
  if (!isForeignArch(arch, computer)) return;
  const archTest = await requireProgramPath(archTestProgram, computer);
  const { code } = await runChild(archTest, [arch], { computer, log: () => {}, signal, purpose: { maker: true } });
  if (code === 0) return;
  throw new SlipwayError(
    'DRIVER_UNSUPPORTED',
    `The image ${name} for ${arch} could not be built: this computer does not run programs for ${arch}`,
    {
      hint: `Register QEMU for them, as root: systemctl restart systemd-binfmt. To download the vendor's image instead: slipway image pull ${name} --arch ${arch}`,
    },
  );
}

async function pullCloudImage(
  request: ImageMakeRequest,
  folder: string,
  call: ImageMakeContext,
): Promise<[BakedImage, ImageSource]> {
  const { computer, progress, signal } = call;
  const downloads = join(computer.home, 'images', '.downloads');
  const source = request.source ?? (await findPublishedImage(request, call));
  // Two commands must not write the same download, whatever their images are called.
  await using _lock = await call.images.lock(
    { name: `download-${source.digest.slice(7, 47)}` },
    {
      signal,
      note: (text) => progress.note(text),
    },
  );
  const base = await progress.step('image-download', `Download ${source.url}`, (log) =>
    download(source.url, { digest: source.digest, folder: downloads, log, signal, env: computer.env }),
  );
  const baked = await progress.step('image-bake', `Install the engine into the image ${request.name}`, (log) =>
    bakeImage(base, request.arch, folder, { computer, log, note: (text) => progress.note(text), signal }),
  );
  // The new image contains the download.
  if (base.startsWith(downloads)) await deleteFile(base);
  return [baked, { kind: 'baked', url: source.url, digest: source.digest }];
}

async function findPublishedImage(
  { name, arch }: ImageMakeRequest,
  { computer, progress, signal }: ImageMakeContext,
): Promise<{ url: string; digest: string }> {
  const { url, file, sums } = requireKnownImage(name).cloud[arch];
  const digest = await progress.step('image-digest', `Get the digest of ${file} from the vendor`, (log) =>
    fetchPublishedDigest(sums, file, { signal, log, env: computer.env }),
  );
  return { url, digest };
}

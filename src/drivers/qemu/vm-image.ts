import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { localFileError } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import { buildImage } from '../../images/build-image.ts';
import { requireKnownImage } from '../../images/catalog.ts';
import { download } from '../../images/download.ts';
import { hashFile } from '../../images/hashing.ts';
import { archOf, imageNameFor, type Image, type ImageSource } from '../../images/image.ts';
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
import { canBuildImages, imageBuildPrograms, qemuImgProgram, requireProgramPath } from './required-programs.ts';

/** What `--image` and `--image-digest` ask for. */
export function parseImageOptions(given: {
  readonly image: string;
  readonly imageDigest?: string | undefined;
}): ImageReference {
  const request = parseImageReference(given.image, given.imageDigest);
  if (request.kind === 'known') requireKnownImage(request.name);
  return request;
}

/** The image that a request means: the one that is here, or one made for it now. */
export async function ensureImage(request: ImageReference, call: DriverCall): Promise<Image> {
  const { computer, signal, log, note } = call;
  const step: ImageMakeContext['progress']['step'] = async (_id, title, work) => {
    log(title);
    return work(log);
  };
  const progress: ImageMakeContext['progress'] = { step: call.step ?? step, lastStepId: () => '', note };
  const images = openImageStore(computer.home);
  const wish = await resolveImageRequest(request, call);
  // Most often it is here, and nobody need wait for one who makes another of its name.
  const there = wish.source === undefined ? await images.find(wish.name, wish.arch) : undefined;
  if (there) return there;
  const { image } = await getOrMakeImage(
    wish,
    { force: false, make: makeImage },
    { computer, images, progress, signal },
  );
  return image;
}

/** Debian's own computers build their images; others take the vendor's. */
async function resolveImageRequest(
  request: ImageReference,
  { computer, signal }: DriverCall,
): Promise<ImageMakeRequest> {
  const arch = archOf(computer);
  if (request.kind === 'known') return { how: canBuildImages(computer) ? 'build' : 'pull', name: request.name, arch };
  const url = request.kind === 'url' ? request.url : resolve(request.path);
  const digest = request.digest ?? `sha512:${await hashImageFile(url, signal)}`;
  return { how: 'pull', name: imageNameFor(url, digest), arch, source: { url, digest } };
}

async function hashImageFile(path: string, signal: AbortSignal): Promise<string> {
  return await hashFile(path, 'sha512', { signal }).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new SlipwayError('USAGE', `There is no image file ${path}`, {
        hint: 'Give a path that exists, a URL with --image-digest, or a name: debian-13',
        cause: error,
      });
    }
    throw localFileError(path, error);
  });
}

export const makeImage: MakeImage = async (wish, call) => {
  const { images, progress, signal } = call;
  await using stage = await images.createStagingFolder();
  const [made, source] =
    wish.how === 'build'
      ? await buildFromPackages(wish, stage.folder, call)
      : await pullCloudImage(wish, stage.folder, call);
  return await progress.step('image-keep', `Keep the image ${wish.name}`, () =>
    images.add(
      stage,
      { version: 1, name: wish.name, arch: wish.arch, ...made, made: new Date().toISOString(), source },
      signal,
    ),
  );
};

async function buildFromPackages(
  wish: ImageMakeRequest,
  folder: string,
  call: ImageMakeContext,
): Promise<[BakedImage, ImageSource]> {
  const { computer, progress, signal } = call;
  if (!canBuildImages(computer)) {
    throw new SlipwayError(
      'DRIVER_UNSUPPORTED',
      'Images are built on Debian, Ubuntu and their kin, which this computer is not',
      {
        hint: `Take the vendor's: slipway image pull ${wish.name}`,
      },
    );
  }
  const { suite } = requireKnownImage(wish.name);
  for (const program of imageBuildPrograms) await requireProgramPath(program, computer);
  const qemuImg = await requireProgramPath(qemuImgProgram, computer);
  const made = await progress.step(
    'image-build',
    `Build the image ${wish.name} (${wish.arch}) of signed packages`,
    (log) => buildImage({ suite, arch: wish.arch, mirror: wish.mirror, qemuImg }, folder, { computer, log, signal }),
  );
  await progress.step('image-finish', 'Start it once, to make what depends on its kernel', (log) =>
    finishImage({ arch: wish.arch, root: made.root }, folder, {
      computer,
      log,
      note: (text) => progress.note(text),
      signal,
    }),
  );
  return [made, { kind: 'built', suite }];
}

async function pullCloudImage(
  wish: ImageMakeRequest,
  folder: string,
  call: ImageMakeContext,
): Promise<[BakedImage, ImageSource]> {
  const { computer, progress, signal } = call;
  if (wish.arch !== archOf(computer)) {
    throw new SlipwayError(
      'DRIVER_UNSUPPORTED',
      `An image of ${wish.arch} can't be started on this computer, to get its engine`,
      {
        hint: `Leave --arch out, or make it on a computer of that kind`,
      },
    );
  }
  const to = join(computer.home, 'images', '.downloads');
  const source = wish.source ?? (await findPublishedImage(wish, call));
  // One file has one writer, whatever names the image is to have.
  await using _lock = await call.images.lock(`download-${source.digest.slice(7, 47)}`, {
    signal,
    note: (text) => progress.note(text),
  });
  const base = await progress.step('image-download', `Get ${source.url}`, (log) =>
    download(source.url, { digest: source.digest, folder: to, log, signal }),
  );
  const made = await progress.step('image-bake', `Install the engine into it, once (${wish.name})`, (log) =>
    bakeImage(base, folder, { computer, log, note: (text) => progress.note(text), signal }),
  );
  // What was downloaded is in the image now.
  if (base.startsWith(to)) await rm(base, { force: true });
  return [made, { kind: 'baked', url: source.url, digest: source.digest }];
}

async function findPublishedImage(
  { name, arch }: ImageMakeRequest,
  { progress, signal }: ImageMakeContext,
): Promise<{ url: string; digest: string }> {
  const { url, file, sums } = requireKnownImage(name).cloud[arch];
  const digest = await progress.step('image-digest', `Ask the vendor for the digest of ${file}`, (log) =>
    fetchPublishedDigest(sums, file, { signal, log }),
  );
  return { url, digest };
}

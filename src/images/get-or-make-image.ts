import type { Computer } from '../computer/computer.ts';
import type { Progress } from '../progress.ts';
import type { Arch, Image } from './image.ts';
import type { ImageStore } from './image-store.ts';

/**
 * A request for an image: `build` creates it on this computer from the distribution's signed packages, `pull` from a
 * cloud image of a vendor or the user.
 */
export type ImageMakeRequest = {
  readonly how: 'build' | 'pull';
  readonly name: string;
  readonly arch: Arch;
  /**
   * For pull: a URL or path with its digest (`sha512:…`). The default is the catalog's cloud image with the digest that
   * the vendor publishes.
   */
  readonly source?: { readonly url: string; readonly digest: string };
  /** For build: the package repository. The default is this computer's own sources. */
  readonly mirror?: string;
};

export type ImageMakeContext = {
  readonly computer: Computer;
  readonly images: ImageStore;
  readonly progress: Progress;
  readonly signal: AbortSignal;
};

/** Creates an image and adds it to the store. The caller holds the lock of its name. */
export type MakeImage = (request: ImageMakeRequest, call: ImageMakeContext) => Promise<Image>;

/** Returns the names of the machines whose disks are overlays over an image. The digest may be abbreviated. */
export type FindImageUsers = (image: Pick<Image, 'digest'>) => Promise<readonly string[]>;

/**
 * Returns an image, and creates it only if the store has none that matches. If several commands want the same image,
 * one creates it and the others wait for it.
 */
export async function getOrMakeImage(
  request: ImageMakeRequest,
  options: { readonly force: boolean; readonly make: MakeImage },
  call: ImageMakeContext,
): Promise<{ readonly image: Image; readonly isNew: boolean }> {
  const { images, progress, signal } = call;
  await using _lock = await images.lock(request.name, { signal, note: (text) => progress.note(text) });
  const existing = options.force ? undefined : await findMatchingImage(request, images);
  if (!existing) return { image: await options.make(request, call), isNew: true };
  // The command that created the image may have been killed right after that.
  await images.removeLeftovers();
  return { image: existing, isNew: false };
}

/** Finds an image by name and architecture, and by the digest it was created from if the request has one. */
async function findMatchingImage(
  { name, arch, source }: ImageMakeRequest,
  images: ImageStore,
): Promise<Image | undefined> {
  if (source === undefined) return images.find(name, arch);
  for (const item of await images.list()) {
    if (!('image' in item) || item.key.name !== name || item.key.arch !== arch) continue;
    if (item.image.source.kind === 'baked' && item.image.source.digest === source.digest) return item.image;
  }
  return undefined;
}

import type { Computer } from '../computer/computer.ts';
import type { Progress } from '../progress.ts';
import type { Arch, Image } from './image.ts';
import type { ImageStore } from './image-store.ts';

/**
 * `build` makes it of the distribution's signed packages here; `pull` of a cloud image that a vendor or the user made.
 */
export type ImageMakeRequest = {
  readonly how: 'build' | 'pull';
  readonly name: string;
  readonly arch: Arch;
  /**
   * For pull: a URL or path with its digest (`sha512:…`). Without it: the catalog's, by the vendor's published digest.
   */
  readonly source?: { readonly url: string; readonly digest: string };
  /** For build: the packages' repository. Without it: this computer's own sources. */
  readonly mirror?: string;
};

export type ImageMakeContext = {
  readonly computer: Computer;
  readonly images: ImageStore;
  readonly progress: Progress;
  readonly signal: AbortSignal;
};

/** Makes an image and adds it. Called with the lock of its name held. */
export type MakeImage = (wish: ImageMakeRequest, call: ImageMakeContext) => Promise<Image>;

/** The machines whose disks are laid over an image; a digest may be its beginning alone. */
export type FindImageUsers = (image: Pick<Image, 'digest'>) => Promise<readonly string[]>;

/**
 * The image, made only where none is here that fits. Of several commands that want the same, one makes it and the
 * others wait and take that.
 */
export async function getOrMakeImage(
  wish: ImageMakeRequest,
  how: { readonly force: boolean; readonly make: MakeImage },
  call: ImageMakeContext,
): Promise<{ readonly image: Image; readonly made: boolean }> {
  const { images, progress, signal } = call;
  await using _lock = await images.lock(wish.name, { signal, note: (text) => progress.note(text) });
  const there = how.force ? undefined : await findMatchingImage(wish, images);
  return there ? { image: there, made: false } : { image: await how.make(wish, call), made: true };
}

/** Whoever names a digest gets what was made of just that. */
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

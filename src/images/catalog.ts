import { SlipwayError } from '../errors.ts';
import { formatList } from '../machine/options.ts';
import type { Arch } from './image.ts';

/** A distribution's release whose name is enough to make an image of it. */
export type KnownImage = {
  readonly name: string;
  /** What its packages' repository calls the release. */
  readonly suite: string;
  /** The vendor's cloud image, and the list of digests beside it. */
  readonly cloud: Readonly<Record<Arch, { readonly url: string; readonly file: string; readonly sums: string }>>;
};

export const knownImages: readonly KnownImage[] = [debianImage(13, 'trixie'), debianImage(12, 'bookworm')];
export const defaultImageName = 'debian-13';

export function requireKnownImage(name: string): KnownImage {
  const known = knownImages.find((candidate) => candidate.name === name);
  if (known) return known;
  throw new SlipwayError('USAGE', `Image "${name}" is unknown`, {
    hint: `Known images: ${formatList(knownImages.map((image) => image.name))}. For any other, pass its path or URL`,
  });
}

function debianImage(release: number, suite: string): KnownImage {
  const of = (arch: Arch): KnownImage['cloud'][Arch] => {
    const folder = `https://cloud.debian.org/images/cloud/${suite}/latest`;
    // Of the vendor's kinds the smallest that has the drivers of virtual machines.
    const file = `debian-${release}-genericcloud-${arch}.qcow2`;
    return { url: `${folder}/${file}`, file, sums: `${folder}/SHA512SUMS` };
  };
  return { name: `debian-${release}`, suite, cloud: { amd64: of('amd64'), arm64: of('arm64') } };
}

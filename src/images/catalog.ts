import { SlipwayError } from '../errors.ts';
import { formatList } from '../machine/options.ts';
import type { Arch } from './image.ts';

/** A distribution's release that Slipway can build or download by its name alone. */
export type KnownImage = {
  readonly name: string;
  /** The release's name in its package repository. */
  readonly suite: string;
  /** The vendor's cloud image, and the digest list beside it. */
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
  const cloudImage = (arch: Arch): KnownImage['cloud'][Arch] => {
    const folder = `https://cloud.debian.org/images/cloud/${suite}/latest`;
    // The smallest of the vendor's variants that has the drivers for VMs.
    const file = `debian-${release}-genericcloud-${arch}.qcow2`;
    return { url: `${folder}/${file}`, file, sums: `${folder}/SHA512SUMS` };
  };
  return { name: `debian-${release}`, suite, cloud: { amd64: cloudImage('amd64'), arm64: cloudImage('arm64') } };
}

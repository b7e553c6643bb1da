import { SlipwayError } from '../errors.ts';
import { listed } from '../machine/options.ts';
import type { Arch } from './image.ts';

/** A distribution's release whose name is enough to make an image of it. */
export type KnownImage = {
  readonly name: string;
  /** What its packages' repository calls the release. */
  readonly suite: string;
  /** The vendor's cloud image, and the list of digests beside it. */
  readonly cloud: Readonly<Record<Arch, { readonly url: string; readonly file: string; readonly sums: string }>>;
};

export const knownImages: readonly KnownImage[] = [debian(13, 'trixie'), debian(12, 'bookworm')];
export const defaultImage = 'debian-13';

export function knownImage(name: string): KnownImage {
  const known = knownImages.find((candidate) => candidate.name === name);
  if (known) return known;
  throw new SlipwayError('USAGE', `There is no image known as "${name}"`, {
    hint: `Known are ${listed(knownImages.map((image) => image.name))}; any other is given by its path or URL`,
  });
}

function debian(release: number, suite: string): KnownImage {
  const of = (arch: Arch): KnownImage['cloud'][Arch] => {
    const folder = `https://cloud.debian.org/images/cloud/${suite}/latest`;
    // Of the vendor's kinds the smallest that has the drivers of virtual machines.
    const file = `debian-${release}-genericcloud-${arch}.qcow2`;
    return { url: `${folder}/${file}`, file, sums: `${folder}/SHA512SUMS` };
  };
  return { name: `debian-${release}`, suite, cloud: { amd64: of('amd64'), arm64: of('arm64') } };
}

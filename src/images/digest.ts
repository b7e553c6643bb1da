import { SlipwayError } from '../errors.ts';

export type DigestAlgorithm = 'sha256' | 'sha512';

const hexLengths: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 };

/**
 * Parses `sha512:…`, `sha256:…` or the bare digits, whose number tells the algorithm. `flag` is the option that an
 * error names.
 */
export function parseDigest(text: string, flag = '--image-digest'): string {
  const [, prefix, hex = ''] = /^(?:(sha256|sha512):)?([0-9a-f]+)$/.exec(text.trim().toLowerCase()) ?? [];
  const algorithm = (Object.keys(hexLengths) as DigestAlgorithm[]).find((name) => hexLengths[name] === hex.length);
  if (algorithm !== undefined && (prefix === undefined || prefix === algorithm)) return `${algorithm}:${hex}`;
  throw new SlipwayError(
    'USAGE',
    `${flag} must be sha512: and 128 hex digits, or sha256: and 64, got ${JSON.stringify(text)}`,
    {
      hint: 'The digest is in the SHA512SUMS file beside the image. For a file of your own: sha512sum disk.qcow2',
    },
  );
}

/** Splits a valid digest into its two parts. */
export function splitDigest(digest: string): { readonly algorithm: DigestAlgorithm; readonly hex: string } {
  const [algorithm = '', hex = ''] = digest.split(':');
  return { algorithm: algorithm as DigestAlgorithm, hex };
}

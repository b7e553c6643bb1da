import { SlipwayError } from '../errors.ts';

export type Algorithm = 'sha256' | 'sha512';

const digits: Readonly<Record<Algorithm, number>> = { sha256: 64, sha512: 128 };

/** `sha512:…`, `sha256:…` or the bare digits, which tell by their number what they are; `flag` is what a refusal names. */
export function parseDigest(text: string, flag = '--image-digest'): string {
  const [, named, hex = ''] = /^(?:(sha256|sha512):)?([0-9a-f]+)$/.exec(text.trim().toLowerCase()) ?? [];
  const algorithm = (Object.keys(digits) as Algorithm[]).find((name) => digits[name] === hex.length);
  if (algorithm !== undefined && (named === undefined || named === algorithm)) return `${algorithm}:${hex}`;
  throw new SlipwayError(
    'USAGE',
    `${flag} must be sha512: and 128 hex digits, or sha256: and 64, got ${JSON.stringify(text)}`,
    {
      hint: 'It stands in the SHA512SUMS file beside the image; of a file of yours: sha512sum disk.qcow2',
    },
  );
}

/** A digest that is known to be one, as its two parts. */
export function partsOf(digest: string): { readonly algorithm: Algorithm; readonly hex: string } {
  const [algorithm = '', hex = ''] = digest.split(':');
  return { algorithm: algorithm as Algorithm, hex };
}

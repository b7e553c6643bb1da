import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { SlipwayError } from '../errors.ts';
import { hasLogin, hideLogins } from '../url-login.ts';
import { parseDigest } from './digest.ts';
import { invalidImageNameError, isImageName } from './image.ts';

/** The image that the user requested. A digest pins what must be downloaded or found. */
export type ImageReference =
  | { readonly kind: 'known'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string; readonly digest: string | undefined }
  | { readonly kind: 'url'; readonly url: string; readonly digest: string };

/** Parses an image: a URL has a scheme, a path has a slash or an extension, and anything else is a name. */
export function parseImageReference(image: string, digest?: string, flag = '--image-digest'): ImageReference {
  const pinned = digest === undefined || digest === '' ? undefined : parseDigest(digest, flag);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(image)?.[1]?.toLowerCase();
  if (scheme === 'file') return { kind: 'file', path: pathFromFileUrl(image), digest: pinned };
  if (scheme !== undefined) return parseUrlReference(image, scheme, pinned, flag);
  if (isImagePath(image)) return { kind: 'file', path: image, digest: pinned };
  if (!isImageName(image)) throw invalidImageNameError(image);
  if (pinned === undefined) return { kind: 'known', name: image };
  throw new SlipwayError('USAGE', `${flag} is only for an image from a URL or a file, and "${image}" is a name`, {
    hint: `Leave it out: the download for ${image} is checked against the digest that its vendor publishes`,
  });
}

/** Tells whether the text is written as the path of a file, not as a URL or a name. */
export function isImagePath(image: string): boolean {
  return !image.includes('://') && /[/\\]|\.[a-z][a-z0-9]*$/i.test(image);
}

function parseUrlReference(image: string, scheme: string, digest: string | undefined, flag: string): ImageReference {
  if (!['http', 'https'].includes(scheme) || !URL.canParse(image)) {
    throw new SlipwayError('USAGE', `An image can't be downloaded from ${JSON.stringify(hideLogins(image))}`, {
      hint: 'Use a URL with https://, http:// or file://, or a path',
    });
  }
  if (hasLogin(image)) {
    throw new SlipwayError('USAGE', `An image can't be downloaded with a login: ${hideLogins(image)}`, {
      hint: 'Download it first with a program that can log in, such as curl, and use the file: ./disk.qcow2',
    });
  }
  if (digest !== undefined) return { kind: 'url', url: image, digest };
  throw new SlipwayError('USAGE', `An image from a URL needs its digest: ${image}`, {
    hint: `Add ${flag} sha512:… (from the SHA512SUMS file beside the image)`,
  });
}

function pathFromFileUrl(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw new SlipwayError('USAGE', `${JSON.stringify(url)} is not a file on this computer`, {
      hint: `A file URL has three slashes and no host: ${pathToFileURL(resolve('/srv/disk.qcow2')).href}`,
      cause: error,
    });
  }
}

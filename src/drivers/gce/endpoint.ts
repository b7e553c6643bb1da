import { lookup } from 'node:dns/promises';
import { isPrivate } from '../../cloud/caller-address.ts';
import { SlipwayError } from '../../errors.ts';
import type { Options } from './options.ts';

/** The endpoint that somebody chose. A token must not go over the internet in the clear. */
export async function endpointOf({ endpoint }: Partial<Options>): Promise<URL | undefined> {
  if (endpoint === undefined) return undefined;
  const url = new URL(endpoint);
  if (url.protocol === 'https:' || (await isNear(url.hostname.replace(/^\[|\]$/g, '')))) return url;
  throw new SlipwayError('USAGE', `${endpoint} would carry your token in the clear`, {
    hint: 'Use https://, or an endpoint on this computer or in a private network: --gce-endpoint',
  });
}

async function isNear(host: string): Promise<boolean> {
  if (host === 'localhost' || isPrivate(host)) return true;
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.length > 0 && found.every(({ address }) => isPrivate(address));
}

/** The path before `/compute/v1/`, which the clients write themselves. */
export function prefixOf(endpoint: URL | undefined): string {
  return (endpoint?.pathname ?? '').replace(/\/?(compute\/v1\/?)?$/, '');
}

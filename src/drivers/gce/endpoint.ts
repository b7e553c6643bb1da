import { lookup } from 'node:dns/promises';
import { isPrivateAddress } from '../cloud/caller-ip.ts';
import { SlipwayError } from '../../errors.ts';
import type { GceOptions } from './options.ts';

type EndpointEnv = Readonly<Record<string, string | undefined>>;

/** The endpoint that somebody chose, if only by gcloud's own variable. A token must not go over the internet in the clear. */
export async function resolveEndpoint(
  { endpoint: given }: Partial<GceOptions>,
  env: EndpointEnv,
): Promise<URL | undefined> {
  const endpoint = given ?? (env.CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE || undefined);
  if (endpoint === undefined) return undefined;
  if (!URL.canParse(endpoint)) {
    throw new SlipwayError('USAGE', `The endpoint of Compute Engine is no URL: ${endpoint}`, {
      hint: 'Give one like https://compute.googleapis.com/compute/v1/: --gce-endpoint',
    });
  }
  const url = new URL(endpoint);
  if (url.protocol === 'https:' || (await isLocalOrPrivate(url.hostname.replace(/^\[|\]$/g, '')))) return url;
  throw new SlipwayError('USAGE', `${endpoint} would carry your token in the clear`, {
    hint: 'Use https://, or an endpoint on this computer or in a private network: --gce-endpoint',
  });
}

async function isLocalOrPrivate(host: string): Promise<boolean> {
  if (host === 'localhost' || isPrivateAddress(host)) return true;
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.length > 0 && found.every(({ address }) => isPrivateAddress(address));
}

/** The path before `/compute/v1/`, which the clients write themselves. */
export function pathPrefixOf(endpoint: URL | undefined): string {
  return (endpoint?.pathname ?? '').replace(/\/?(compute\/v1\/?)?$/, '');
}

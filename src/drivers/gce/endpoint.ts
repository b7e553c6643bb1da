import { lookup } from 'node:dns/promises';
import { isPrivateAddress } from '../cloud/caller-ip.ts';
import { SlipwayError } from '../../errors.ts';
import { hasLogin, hideLogins } from '../../url-login.ts';
import type { UnresolvedGceOptions } from './options.ts';

type EndpointEnv = Readonly<Record<string, string | undefined>>;

/**
 * Returns the endpoint of the option, or of gcloud's own variable; undefined for Google's own. Throws USAGE for one
 * that would send a token unencrypted over the internet.
 */
export async function resolveEndpoint(
  { endpoint: chosen }: Pick<UnresolvedGceOptions, 'endpoint'>,
  env: EndpointEnv,
): Promise<URL | undefined> {
  const endpoint = chosen ?? (env.CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE || undefined);
  if (endpoint === undefined) return undefined;
  if (!URL.canParse(endpoint)) {
    throw new SlipwayError('USAGE', `The endpoint of Compute Engine is not a URL: ${hideLogins(endpoint)}`, {
      hint: 'For example: --gce-endpoint https://compute.googleapis.com/compute/v1/',
    });
  }
  if (hasLogin(endpoint)) {
    throw new SlipwayError('USAGE', 'The endpoint of Compute Engine must be a URL without a login', {
      hint: 'For example: --gce-endpoint https://compute.googleapis.com/compute/v1/',
    });
  }
  const url = new URL(endpoint);
  if (url.protocol === 'https:' || (await isLocalOrPrivate(url.hostname.replace(/^\[|\]$/g, '')))) return url;
  throw new SlipwayError('USAGE', `${endpoint} would send your token unencrypted`, {
    hint: 'Use https://, or an endpoint on this computer or in a private network: --gce-endpoint',
  });
}

async function isLocalOrPrivate(host: string): Promise<boolean> {
  if (host === 'localhost' || isPrivateAddress(host)) return true;
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.length > 0 && found.every(({ address }) => isPrivateAddress(address));
}

/** Returns the path before `/compute/v1/`, which the clients add themselves. */
export function pathPrefixOf(endpoint: URL | undefined): string {
  return (endpoint?.pathname ?? '').replace(/\/?(compute\/v1\/?)?$/, '');
}

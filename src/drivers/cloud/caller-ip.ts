import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect, isIP, isIPv6 } from 'node:net';
import type { DriverCall } from '../contract.ts';
import { canceledError, SlipwayError } from '../../errors.ts';
import { hasLogin } from '../../url-login.ts';

/** A service whose response is the caller's address and nothing else. */
const ADDRESS_SERVICE_URL = 'https://checkip.amazonaws.com/';
const TIMEOUT_SECONDS = 10;

/**
 * Returns the CIDR block of the caller's address alone, as a machine's firewall sees it: `198.51.100.7/32`. A
 * connection to an endpoint in a private network has no address translation, so the answer is the local side of that
 * connection; otherwise this asks a service on the internet. `network` is the CIDR block of the machine's own network,
 * if Slipway connects inside it: the answer is then the local side of the route to that network. `flag` is the flag
 * that the hint names.
 */
export async function findCallerCidr(
  endpoint: URL | undefined,
  flag: string,
  call: DriverCall,
  network?: string,
): Promise<string> {
  const address =
    (network === undefined ? undefined : await findRouteAddress(network)) ??
    (endpoint && (await findLocalAddress(endpoint, call))) ??
    (await fetchPublicAddress(flag, call));
  return `${address}/${isIPv6(address) ? 128 : 32}`;
}

/** Returns the address from which this computer would send packets to the network; sends none. */
async function findRouteAddress(network: string): Promise<string | undefined> {
  const [base = ''] = network.split('/');
  if (isIP(base) === 0) return undefined;
  const socket = createSocket(isIPv6(base) ? 'udp6' : 'udp4');
  try {
    socket.connect(9, base);
    await once(socket, 'connect');
    return socket.address().address;
  } catch {
    // There is no route: the first connection to the machine reports that with a better sentence.
    return undefined;
  } finally {
    socket.close();
  }
}

/** The block of all public IPv6 addresses. */
const PUBLIC_IPV6 = '2000::/3';

/**
 * Returns the CIDR block of the IPv6 address with which this computer reaches the internet; undefined if it has none.
 * IPv6 has no address translation, so no service has to be asked.
 */
export async function findPublicIpv6Cidr(): Promise<string | undefined> {
  const address = await findRouteAddress(PUBLIC_IPV6);
  return address !== undefined && /^[23]/.test(address) ? `${address}/128` : undefined;
}

/** Returns whether this computer has a route to an address; sends nothing. */
export async function hasRouteTo(address: string): Promise<boolean> {
  return (await findRouteAddress(address)) !== undefined;
}

/** Stands for the IPv4 internet: an address for documentation, which the default route leads to as well. */
const PUBLIC_IPV4 = '192.0.2.1';

/** Returns whether this computer reaches the internet over IPv6 alone. */
export async function isIpv6Only(): Promise<boolean> {
  return !(await hasRouteTo(PUBLIC_IPV4)) && (await findPublicIpv6Cidr()) !== undefined;
}

async function findLocalAddress(endpoint: URL, call: DriverCall): Promise<string | undefined> {
  const host = endpoint.hostname.replace(/^\[|\]$/g, '');
  const found = await lookup(host).catch(() => undefined);
  if (!found || !isPrivateAddress(found.address)) return undefined;
  const port = Number(endpoint.port) || (endpoint.protocol === 'http:' ? 80 : 443);
  return await new Promise((resolve) => {
    const socket = connect({ host: found.address, port, timeout: TIMEOUT_SECONDS * 1000, signal: call.signal });
    const finish = (address: string | undefined) => (): void => {
      socket.destroy();
      resolve(address);
    };
    socket.once('connect', () => finish(socket.localAddress?.replace(/^::ffff:/, ''))());
    // The first real request to the endpoint reports the problem.
    socket.once('error', finish(undefined)).once('timeout', finish(undefined));
  });
}

/** Returns whether an address is loopback, RFC 1918, link-local or unique local. */
export function isPrivateAddress(address: string): boolean {
  return /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|::1$|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/i.test(
    address,
  );
}

async function fetchPublicAddress(flag: string, call: DriverCall): Promise<string> {
  const service = call.computer.env.SLIPWAY_ADDRESS_URL || ADDRESS_SERVICE_URL;
  if (hasLogin(service))
    throw new SlipwayError('USAGE', 'SLIPWAY_ADDRESS_URL must be a URL without a login', {
      hint: `Name the addresses that may connect: ${flag} 198.51.100.7/32; or set SLIPWAY_ADDRESS_URL to another service`,
    });
  try {
    const answer = await fetch(service, {
      signal: AbortSignal.any([call.signal, AbortSignal.timeout(TIMEOUT_SECONDS * 1000)]),
    });
    const address = (await answer.text()).trim();
    if (answer.ok && isIP(address) !== 0) return address;
    throw new Error(`it answered ${answer.status}`);
  } catch (error) {
    if (call.signal.aborted) throw canceledError();
    throw new SlipwayError(
      'PROVIDER_REFUSED',
      `Your IP address could not be determined: ${service} did not answer with one`,
      {
        hint: `Name the addresses that may connect: ${flag} 198.51.100.7/32; or set SLIPWAY_ADDRESS_URL to another service`,
        cause: error,
      },
    );
  }
}

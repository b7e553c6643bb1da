import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect, isIP, isIPv6 } from 'node:net';
import type { DriverCall } from '../contract.ts';
import { canceledError, SlipwayError } from '../../errors.ts';

/** Answers with the address that it sees, alone in its body. */
const ADDRESS_SERVICE_URL = 'https://checkip.amazonaws.com/';
const TIMEOUT_SECONDS = 10;

/**
 * The block that holds this computer alone, as a machine's firewall sees it: `198.51.100.7/32`. An endpoint in a private network
 * is reached without translation, so our own side of a connection to it is the answer; else a service on the internet is asked.
 * `network` is the machine's own, where it is reached by its address there: then our side of the way to that counts. `flag` is what
 * the hint names.
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

/** The address that this computer would send from; nothing is sent. */
async function findRouteAddress(network: string): Promise<string | undefined> {
  const [base = ''] = network.split('/');
  if (isIP(base) === 0) return undefined;
  const socket = createSocket(isIPv6(base) ? 'udp6' : 'udp4');
  try {
    socket.connect(9, base);
    await once(socket, 'connect');
    return socket.address().address;
  } catch {
    // There is no way to it: the first connection to the machine tells that better.
    return undefined;
  } finally {
    socket.close();
  }
}

async function findLocalAddress(endpoint: URL, call: DriverCall): Promise<string | undefined> {
  const host = endpoint.hostname.replace(/^\[|\]$/g, '');
  const found = await lookup(host).catch(() => undefined);
  if (!found || !isPrivateAddress(found.address)) return undefined;
  const port = Number(endpoint.port) || (endpoint.protocol === 'http:' ? 80 : 443);
  return await new Promise((resolve) => {
    const socket = connect({ host: found.address, port, timeout: TIMEOUT_SECONDS * 1000, signal: call.signal });
    const end = (address: string | undefined) => (): void => {
      socket.destroy();
      resolve(address);
    };
    socket.once('connect', () => end(socket.localAddress?.replace(/^::ffff:/, ''))());
    // What is wrong with the endpoint is told by the first real call to it.
    socket.once('error', end(undefined)).once('timeout', end(undefined));
  });
}

/** Loopback, RFC 1918, link-local, unique local. */
export function isPrivateAddress(address: string): boolean {
  return /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|::1$|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/i.test(
    address,
  );
}

async function fetchPublicAddress(flag: string, call: DriverCall): Promise<string> {
  const service = call.computer.env.SLIPWAY_ADDRESS_URL || ADDRESS_SERVICE_URL;
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
      `The address from which you call could not be found: ${service} did not tell it`,
      {
        hint: `Say who may connect: ${flag} 198.51.100.7/32 (or another asker: SLIPWAY_ADDRESS_URL)`,
        cause: error,
      },
    );
  }
}

import { Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { findCallerCidr } from '../../src/drivers/cloud/caller-ip.ts';
import { missingCidrs, resolveAllowedCidrs } from '../../src/drivers/cloud/firewall.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { recordingCall } from '../clouds/ec2-fixture.ts';

/** Names an address service where nothing listens. */
const UNREACHABLE_ENV = { SLIPWAY_ADDRESS_URL: 'http://127.0.0.1:9/' };

function callWithEnv(env: Readonly<Record<string, string>>): ReturnType<typeof recordingCall> {
  const call = recordingCall('/nowhere');
  return { ...call, computer: { ...call.computer, env } };
}

describe("the caller's address", () => {
  test('is the local one on the route to a private network', async () => {
    expect(await findCallerCidr(undefined, '--flag', callWithEnv(UNREACHABLE_ENV), '127.9.0.0/16')).toBe(
      '127.0.0.1/32',
    );
  });

  test('comes from a service when no route leads to that network', async () => {
    const error = await catchRejection(findCallerCidr(undefined, '--flag', callWithEnv(UNREACHABLE_ENV), 'nothing'));
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining('http://127.0.0.1:9/ did not answer with one'),
      hint: expect.stringContaining('--flag 198.51.100.7/32'),
    });
  });
});

describe('the blocks that may connect', () => {
  const lookUp = async (isDualStack: boolean, env: Readonly<Record<string, string>>) =>
    resolveAllowedCidrs({
      allowCidr: [],
      flag: '--flag',
      findNetwork: async () => undefined,
      endpoint: () => undefined,
      isDualStack,
      call: callWithEnv(env),
    });

  /** Starts a service that answers with this address. */
  async function startAddressService(address: string) {
    const server = createServer((_, response) => response.end(`${address}\n`)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return {
      env: { SLIPWAY_ADDRESS_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` },
      async [Symbol.asyncDispose]() {
        server.close();
      },
    };
  }

  afterEach(() => void vi.restoreAllMocks());

  /** Gives this computer a route to the internet over IPv6, with this address, or none. */
  function routeIpv6(address: string | undefined): void {
    vi.spyOn(Socket.prototype, 'connect').mockImplementation(function connect(this: Socket) {
      setImmediate(() => (address === undefined ? this.emit('error', new Error('ENETUNREACH')) : this.emit('connect')));
    } as Socket['connect']);
    vi.spyOn(Socket.prototype, 'address').mockReturnValue({ address: address ?? '', family: 'IPv6', port: 1 });
  }

  test('are those of both families of a caller that has both, if one rule can name both', async () => {
    await using service = await startAddressService('198.51.100.7');
    routeIpv6('2001:db8::7');
    expect(await lookUp(true, service.env)).toEqual(['198.51.100.7/32', '2001:db8::7/128']);
    expect(await lookUp(false, service.env)).toEqual(['198.51.100.7/32']);
  });

  test('are the IPv6 address of a caller without IPv4, which no service knows', async () => {
    routeIpv6('2001:db8::7');
    expect(await lookUp(true, UNREACHABLE_ENV)).toEqual(['2001:db8::7/128']);
    expect(await lookUp(false, UNREACHABLE_ENV)).toEqual(['2001:db8::7/128']);
  });

  test('are unknown without either, and with an IPv6 address of a private network', async () => {
    routeIpv6(undefined);
    expect(await catchRejection(lookUp(true, UNREACHABLE_ENV))).toMatchObject({ code: 'PROVIDER_REFUSED' });
    routeIpv6('fd00::7');
    expect(await catchRejection(lookUp(true, UNREACHABLE_ENV))).toMatchObject({ code: 'PROVIDER_REFUSED' });
  });

  test('are added for IPv6 even if all of IPv4 may connect', () => {
    expect(missingCidrs(['0.0.0.0/0'], ['198.51.100.7/32', '2001:db8::7/128'])).toEqual(['2001:db8::7/128']);
    expect(missingCidrs(['::/0'], ['198.51.100.7/32', '2001:db8::7/128'])).toEqual(['198.51.100.7/32']);
  });
});

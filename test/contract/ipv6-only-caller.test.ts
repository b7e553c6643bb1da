import { Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { requireIpv4 } from '../../src/drivers/gce/validate-options.ts';
import { optionsSchema as gceOptions } from '../../src/drivers/gce/options.ts';
import { startEc2, type Ec2 } from '../clouds/ec2-double.ts';
import { createTarget, newTarget, parseEc2Options, recordingCall, stubUserEnvironment } from '../clouds/ec2-fixture.ts';
import { noGuests } from '../clouds/guests.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

let cloud: Ec2;
let folder: Awaited<ReturnType<typeof createTemporaryFolder>>;

beforeEach(async () => {
  folder = await createTemporaryFolder();
  cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
  stubUserEnvironment(cloud, folder.path);
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await cloud[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Gives this computer routes to the internet over these families only. */
function routeOnly(...families: readonly ('IPv4' | 'IPv6')[]): void {
  vi.spyOn(Socket.prototype, 'connect').mockImplementation(function connect(this: Socket, _port: number, to?: unknown) {
    const family = isIPv6(String(to)) ? 'IPv6' : 'IPv4';
    setImmediate(() =>
      families.includes(family) ? this.emit('connect') : this.emit('error', new Error('ENETUNREACH')),
    );
  } as Socket['connect']);
  vi.spyOn(Socket.prototype, 'address').mockReturnValue({ address: '2001:db8::7', family: 'IPv6', port: 1 });
}

const create = async (...argv: readonly string[]) =>
  createTarget(newTarget(parseEc2Options(argv)), recordingCall(folder.path));

/** Returns the network interface that the last RunInstances asked for. */
function requestedInterface(): Readonly<Record<string, unknown>> | undefined {
  const { params } = cloud.calls.findLast(({ operation }) => operation === 'RunInstances') ?? {};
  return (params?.NetworkInterface as readonly Readonly<Record<string, unknown>>[] | undefined)?.[0];
}

describe('from a computer that has only IPv6', () => {
  test('an EC2 machine gets an IPv6 address, in a subnet that has some', async () => {
    routeOnly('IPv6');
    cloud.ipv6Subnets.add('subnet-b');
    const { options } = await create();
    expect(options).toMatchObject({ ipv6: true, subnet: 'subnet-b' });
    expect(requestedInterface()).toMatchObject({ SubnetId: 'subnet-b', Ipv6AddressCount: '1' });
  });

  test('a VPC without IPv6 is refused before anything is created', async () => {
    routeOnly('IPv6');
    expect(await catchRejection(create())).toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining('subnet-a has no IPv6 addresses'),
      hint: expect.stringMatching(/^This computer has only IPv6\. Give a subnet of the VPC an IPv6 CIDR block/),
    });
    expect(await catchRejection(create('--ec2-subnet', 'subnet-a'))).toMatchObject({
      code: 'USAGE',
      message: 'The subnet subnet-a has no IPv6 addresses',
      hint: expect.stringMatching(/^This computer has only IPv6/),
    });
    expect(cloud.calls.filter(({ mutates }) => mutates)).toEqual([]);
  });

  test('a subnet whose IPv6 addresses are not reached from the internet is refused', async () => {
    routeOnly('IPv6');
    cloud.ipv6Subnets.add('subnet-a');
    cloud.privateSubnets.add('subnet-a');
    expect(await catchRejection(create('--ec2-subnet', 'subnet-a'))).toMatchObject({
      message: 'The subnet subnet-a has no route to an internet gateway for IPv6',
    });
  });

  test('a machine that is reached by its private address needs none', async () => {
    routeOnly('IPv6');
    await create('--ec2-private-address-only');
    expect(requestedInterface()?.Ipv6AddressCount).toBeUndefined();
  });

  test('a machine in Compute Engine, which has only IPv4, is refused', async () => {
    routeOnly('IPv6');
    const options = { ...gceOptions.parse({}), zone: 'europe-west3-a', diskType: 'pd-balanced' };
    expect(await catchRejection(requireIpv4(options))).toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining('--gce-use-internal-ip'),
    });
    await requireIpv4({ ...options, useInternalIp: true });
    routeOnly('IPv4', 'IPv6');
    await requireIpv4(options);
    // A computer without any route may still reach a private endpoint.
    routeOnly();
    await requireIpv4(options);
  });
});

describe('from a computer with IPv4', () => {
  test('an EC2 machine gets an IPv6 address only on request', async () => {
    routeOnly('IPv4', 'IPv6');
    cloud.ipv6Subnets.add('subnet-c');
    await create();
    expect(requestedInterface()).toBeUndefined();
    const { options } = await create('--ec2-ipv6');
    expect(options).toMatchObject({ ipv6: true, subnet: 'subnet-c' });
    expect(requestedInterface()).toMatchObject({ SubnetId: 'subnet-c', Ipv6AddressCount: '1' });
    expect(await catchRejection(create('--ec2-ipv6', '--ec2-subnet', 'subnet-a'))).toMatchObject({
      hint: expect.stringContaining('or omit --ec2-ipv6'),
    });
  });
});

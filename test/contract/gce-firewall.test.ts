import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Target } from '../../src/drivers/contract.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { denyRuleName } from '../../src/drivers/gce/resource-names.ts';
import type { GceOptions } from '../../src/drivers/gce/options.ts';
import type { CloudCall } from '../clouds/cloud.ts';
import { BOOT, startGceFixture, MACHINE_ID, type GceFixture } from '../clouds/gce-fixture.ts';

/** The machine's own network, by each time that our address was looked for. */
const machineNetworks = vi.hoisted(() => [] as (string | undefined)[]);
vi.mock('../../src/drivers/cloud/caller-ip.ts', async (original) => {
  const real = await original<typeof import('../../src/drivers/cloud/caller-ip.ts')>();
  const findCallerCidr: typeof real.findCallerCidr = async (endpoint, flag, call, network) => {
    machineNetworks.push(network);
    return network === undefined ? await real.findCallerCidr(endpoint, flag, call) : '10.9.0.4/32';
  };
  return { ...real, findCallerCidr };
});

let bench: GceFixture;
beforeEach(async () => {
  machineNetworks.length = 0;
  bench = await startGceFixture();
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

const INSTANCE_NAME = 'web-3f9a2c41';
const DENY_RULE_NAME = `slipway-${MACHINE_ID}-deny`;
const FRIEND = '198.51.100.7';
const STRANGER = '203.0.113.99';
const NEIGHBOUR = '10.128.0.77';

async function createInstance(given: Partial<GceOptions>): Promise<Target<GceOptions>> {
  const wanted = bench.newTarget(given);
  const target = { ...wanted, options: (await gce.cloud.resolveOptions(wanted, bench.call)) ?? wanted.options };
  await gce.machines.create(target, BOOT, bench.call);
  return target;
}

/** Of these three, who may connect to SSH and to the engine: `friend 22`. */
function allowedConnections(instance = INSTANCE_NAME): readonly string[] {
  const who = { friend: FRIEND, stranger: STRANGER, neighbour: NEIGHBOUR };
  return Object.entries(who).flatMap(([name, address]) =>
    [22, 2376]
      .filter((port) => bench.cloud.isConnectionAllowed(address, port, instance))
      .map((port) => `${name} ${port}`),
  );
}

const ruleNames = (): readonly string[] => bench.cloud.rules.map(({ name }) => name);

describe('a network that admits the world to SSH and neighbours to everything', () => {
  test("does so in the double, as in Google's own", () => {
    bench.cloud.addInstance({ name: 'else', zone: 'us-central1-a' });
    expect(allowedConnections('else')).toEqual(['friend 22', 'stranger 22', 'neighbour 22', 'neighbour 2376']);
  });

  test('does not so for our machine: who is not named is kept out, from before it exists', async () => {
    await createInstance({ allowCidr: [`${FRIEND}/32`] });
    expect(allowedConnections()).toEqual(['friend 22', 'friend 2376']);
    const order = bench.cloud.calls.filter(({ mutates }) => mutates).map(({ operation }) => operation);
    expect(order).toEqual(['compute.firewalls.insert', 'compute.firewalls.insert', 'compute.instances.insert']);
  });

  test('nor for the machines of a batch', async () => {
    const settled = await gce.cloud.resolveOptions(bench.newTarget({ allowCidr: [`${FRIEND}/32`] }), bench.call);
    const targets = [0, 1].map((index) =>
      bench.newTarget(settled, { id: `own-${index}`, name: `web-${index}`, batch: { id: MACHINE_ID, index, size: 2 } }),
    );
    await gce.cloud.createMany(targets, BOOT, bench.call);
    expect(allowedConnections('web-1-1-3f9a2c41')).toEqual(['friend 22', 'friend 2376']);
    for (const target of targets) await gce.machines.remove(target, bench.call);
    expect(bench.cloud.listAlive()).toEqual([]);
  });

  test('what is open to the whole internet by name stays so, port 22 too', async () => {
    await createInstance({ allowCidr: [`${FRIEND}/32`], openPort: ['8080', '22'] });
    expect(bench.cloud.isConnectionAllowed(STRANGER, 8080, INSTANCE_NAME)).toBe(true);
    expect(allowedConnections()).toEqual(['friend 22', 'friend 2376', 'stranger 22', 'neighbour 22']);
  });

  test('the world may come where it is named, and there is no rule against it', async () => {
    const target = await createInstance({ allowCidr: ['0.0.0.0/0'] });
    expect(ruleNames()).toEqual([`slipway-${MACHINE_ID}`]);
    expect(allowedConnections()).toContain('stranger 2376');
    await gce.cloud.allowCallerIp(target, bench.call);
    expect(ruleNames()).toEqual([`slipway-${MACHINE_ID}`]);
  });

  test("an instance that is somebody's keeps those who came to it", async () => {
    bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    const hostKey = `SHA256:${'a'.repeat(43)}`;
    const target = await createInstance({ useExisting: true, hostKey, allowCidr: [`${FRIEND}/32`] });
    await gce.cloud.allowCallerIp(target, bench.call);
    expect(ruleNames()).toEqual([`slipway-${MACHINE_ID}`]);
    expect(allowedConnections('web')).toEqual([
      'friend 22',
      'friend 2376',
      'stranger 22',
      'neighbour 22',
      'neighbour 2376',
    ]);
  });
});

describe('the rule that keeps others out', () => {
  test('carries our marks, has a name that Google takes, and goes with the machine', async () => {
    const target = await createInstance({});
    expect(bench.cloud.rules.find(({ name }) => name === DENY_RULE_NAME)?.description).toContain(
      `"slipway-id":"${MACHINE_ID}"`,
    );
    expect(denyRuleName(MACHINE_ID).length).toBeLessThanOrEqual(63);
    await gce.machines.remove(target, bench.call);
    expect(bench.cloud.listAlive()).toEqual([]);
  });

  test('goes when the world is let in, and comes when it is not any more', async () => {
    const target = await createInstance({ allowCidr: [`${FRIEND}/32`] });
    const changed = async (from: readonly string[], to: readonly string[]): Promise<void> => {
      const as = (allowCidr: readonly string[]): GceOptions => ({ ...target.options, allowCidr: [...allowCidr] });
      await gce.changes?.apply?.({ ...target, options: as(to) }, as(from), bench.call);
    };
    await changed([`${FRIEND}/32`], ['0.0.0.0/0']);
    expect(ruleNames()).toEqual([`slipway-${MACHINE_ID}`]);
    expect(allowedConnections()).toContain('stranger 2376');
    await changed(['0.0.0.0/0'], [`${FRIEND}/32`]);
    expect(ruleNames()).toContain(DENY_RULE_NAME);
    expect(allowedConnections()).toEqual(['friend 22', 'friend 2376']);
  });

  test('is laid for a machine that was made before there was one, without locking anybody out', async () => {
    const target = await createInstance({ allowCidr: [`${FRIEND}/32`] });
    bench.cloud.removeRule(DENY_RULE_NAME);
    Object.assign(bench.cloud.rules[0] ?? {}, { priority: 1000 });
    const seen: (readonly string[])[] = [];
    bench.cloud.onArrival = ({ mutates }: CloudCall) => {
      if (mutates) seen.push(allowedConnections());
      return undefined;
    };
    await gce.cloud.allowCallerIp(target, bench.call);
    expect(allowedConnections()).toEqual(['friend 22', 'friend 2376']);
    for (const who of seen) expect(who).toEqual(expect.arrayContaining(['friend 22', 'friend 2376']));
    expect(bench.notes.join('\n')).toContain('Nobody else may now connect to "web"');
    await gce.cloud.allowCallerIp(target, bench.call);
    expect(seen).toHaveLength(2);
    bench.cloud.onArrival = () => undefined;
    await gce.machines.remove(target, bench.call);
    expect(bench.cloud.listAlive()).toEqual([]);
  });
});

describe('our address, as the machine sees it,', () => {
  const own = (): readonly string[] | undefined =>
    bench.cloud.rules.find(({ name }) => name === `slipway-${MACHINE_ID}`)?.sourceRanges;

  test('is that of the internet where it is reached over that', async () => {
    await createInstance({});
    expect([machineNetworks, own()]).toEqual([[undefined], ['127.0.0.1/32']]);
  });

  test.each([
    ['useInternalIp', { useInternalIp: true }, '10.128.0.0/20'],
    ['useInternalIpOnly', { useInternalIpOnly: true }, '10.128.0.0/20'],
    ['an address that is none', { address: 'none' }, '10.128.0.0/20'],
    ['a subnetwork', { useInternalIp: true, subnetwork: 'inner' }, '10.9.0.0/16'],
  ] as const)('is that of the way to its network with %s', async (_, given, network) => {
    await createInstance(given);
    expect([machineNetworks, own()]).toEqual([[network], ['10.9.0.4/32']]);
  });

  test('is that of the way to the network of an instance that exists', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    const subnetwork = 'regions/us-central1/subnetworks/inner';
    one.properties = { ...one.properties, networkInterfaces: [{ subnetwork }] };
    await createInstance({ useExisting: true, useInternalIp: true, hostKey: `SHA256:${'a'.repeat(43)}` });
    expect([machineNetworks, own()]).toEqual([['10.9.0.0/16'], ['10.9.0.4/32']]);
    expect(bench.cloud.rules.map(({ network }) => network)).toEqual(['vpc-1']);
  });
});

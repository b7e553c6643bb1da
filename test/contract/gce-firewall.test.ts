import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Target } from '../../src/drivers/contract.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { denyRuleName } from '../../src/drivers/gce/resource-names.ts';
import type { GceOptions } from '../../src/drivers/gce/options.ts';
import type { CloudCall } from '../clouds/cloud.ts';
import { BOOT, startGceFixture, MACHINE_ID, type GceFixture } from '../clouds/gce-fixture.ts';

/** Collects the network that each lookup of the caller's address was given. */
const lookupNetworks = vi.hoisted(() => [] as (string | undefined)[]);
vi.mock('../../src/drivers/cloud/caller-ip.ts', async (original) => {
  const real = await original<typeof import('../../src/drivers/cloud/caller-ip.ts')>();
  const findCallerCidr: typeof real.findCallerCidr = async (endpoint, flag, call, network) => {
    lookupNetworks.push(network);
    return network === undefined ? await real.findCallerCidr(endpoint, flag, call) : '10.9.0.4/32';
  };
  return { ...real, findCallerCidr };
});

let fixture: GceFixture;
beforeEach(async () => {
  lookupNetworks.length = 0;
  fixture = await startGceFixture();
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

const INSTANCE_NAME = 'web-3f9a2c41';
const DENY_RULE_NAME = `slipway-${MACHINE_ID}-deny`;
const FRIEND = '198.51.100.7';
const STRANGER = '203.0.113.99';
const NEIGHBOR = '10.128.0.77';

async function createInstance(requested: Partial<GceOptions>): Promise<Target<GceOptions>> {
  const unresolved = fixture.newTarget(requested);
  const target = {
    ...unresolved,
    options: (await gce.cloud.resolveOptions(unresolved, fixture.call)) ?? unresolved.options,
  };
  await gce.machines.create(target, BOOT, fixture.call);
  return target;
}

/** Lists which of three addresses can connect to SSH and to the engine, such as `friend 22`. */
function allowedConnections(instance = INSTANCE_NAME): readonly string[] {
  const addresses = { friend: FRIEND, stranger: STRANGER, neighbor: NEIGHBOR };
  return Object.entries(addresses).flatMap(([name, address]) =>
    [22, 2376]
      .filter((port) => fixture.cloud.isConnectionAllowed(address, port, instance))
      .map((port) => `${name} ${port}`),
  );
}

const ruleNames = (): readonly string[] => fixture.cloud.rules.map(({ name }) => name);

describe('a network that allows SSH from everywhere and all traffic from neighbors', () => {
  test('allows the same connections in the double as at Google', () => {
    fixture.cloud.addInstance({ name: 'else', zone: 'us-central1-a' });
    expect(allowedConnections('else')).toEqual(['friend 22', 'stranger 22', 'neighbor 22', 'neighbor 2376']);
  });

  test('admits only the allowed callers to a machine, even before the machine exists', async () => {
    await createInstance({ allowCidr: [`${FRIEND}/32`] });
    expect(allowedConnections()).toEqual(['friend 22', 'friend 2376']);
    const order = fixture.cloud.calls.filter(({ mutates }) => mutates).map(({ operation }) => operation);
    expect(order).toEqual(['compute.firewalls.insert', 'compute.firewalls.insert', 'compute.instances.insert']);
  });

  test('admits only the allowed callers to the machines of a batch', async () => {
    const options = await gce.cloud.resolveOptions(fixture.newTarget({ allowCidr: [`${FRIEND}/32`] }), fixture.call);
    const targets = [0, 1].map((index) =>
      fixture.newTarget(options, {
        id: `own-${index}`,
        name: `web-${index}`,
        batch: { id: MACHINE_ID, index, size: 2 },
      }),
    );
    await gce.cloud.createMany(targets, BOOT, fixture.call);
    expect(allowedConnections('web-1-1-3f9a2c41')).toEqual(['friend 22', 'friend 2376']);
    for (const target of targets) await gce.machines.remove(target, fixture.call);
    expect(fixture.cloud.listAlive()).toEqual([]);
  });

  test('admits everyone to an open port, including port 22', async () => {
    await createInstance({ allowCidr: [`${FRIEND}/32`], openPort: ['8080', '22'] });
    expect(fixture.cloud.isConnectionAllowed(STRANGER, 8080, INSTANCE_NAME)).toBe(true);
    expect(allowedConnections()).toEqual(['friend 22', 'friend 2376', 'stranger 22', 'neighbor 22']);
  });

  test('has no deny rule when the allowed callers are everyone', async () => {
    const target = await createInstance({ allowCidr: ['0.0.0.0/0'] });
    expect(ruleNames()).toEqual([`slipway-${MACHINE_ID}`]);
    expect(allowedConnections()).toContain('stranger 2376');
    await gce.cloud.allowCallerIp(target, fixture.call);
    expect(ruleNames()).toEqual([`slipway-${MACHINE_ID}`]);
  });

  test('admits the same callers as before to an existing instance', async () => {
    fixture.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    const hostKey = `SHA256:${'a'.repeat(43)}`;
    const target = await createInstance({ useExisting: true, hostKey, allowCidr: [`${FRIEND}/32`] });
    await gce.cloud.allowCallerIp(target, fixture.call);
    expect(ruleNames()).toEqual([`slipway-${MACHINE_ID}`]);
    expect(allowedConnections('web')).toEqual([
      'friend 22',
      'friend 2376',
      'stranger 22',
      'neighbor 22',
      'neighbor 2376',
    ]);
  });
});

describe('the deny rule', () => {
  test('carries the ID of the machine, has a valid name, and is removed with the machine', async () => {
    const target = await createInstance({});
    expect(fixture.cloud.rules.find(({ name }) => name === DENY_RULE_NAME)?.description).toContain(
      `"slipway-id":"${MACHINE_ID}"`,
    );
    expect(denyRuleName(MACHINE_ID).length).toBeLessThanOrEqual(63);
    await gce.machines.remove(target, fixture.call);
    expect(fixture.cloud.listAlive()).toEqual([]);
  });

  test('is removed when everyone is allowed, and created when callers are limited again', async () => {
    const target = await createInstance({ allowCidr: [`${FRIEND}/32`] });
    const changeCallers = async (from: readonly string[], to: readonly string[]): Promise<void> => {
      const optionsWith = (allowCidr: readonly string[]): GceOptions => ({
        ...target.options,
        allowCidr: [...allowCidr],
      });
      await gce.changes?.apply?.({ ...target, options: optionsWith(to) }, optionsWith(from), fixture.call);
    };
    await changeCallers([`${FRIEND}/32`], ['0.0.0.0/0']);
    expect(ruleNames()).toEqual([`slipway-${MACHINE_ID}`]);
    expect(allowedConnections()).toContain('stranger 2376');
    await changeCallers(['0.0.0.0/0'], [`${FRIEND}/32`]);
    expect(ruleNames()).toContain(DENY_RULE_NAME);
    expect(allowedConnections()).toEqual(['friend 22', 'friend 2376']);
  });

  test('is added to a machine that was created without it, and locks out no allowed caller', async () => {
    const target = await createInstance({ allowCidr: [`${FRIEND}/32`] });
    fixture.cloud.removeRule(DENY_RULE_NAME);
    Object.assign(fixture.cloud.rules[0] ?? {}, { priority: 1000 });
    const seen: (readonly string[])[] = [];
    fixture.cloud.onArrival = ({ mutates }: CloudCall) => {
      if (mutates) seen.push(allowedConnections());
      return undefined;
    };
    await gce.cloud.allowCallerIp(target, fixture.call);
    expect(allowedConnections()).toEqual(['friend 22', 'friend 2376']);
    for (const who of seen) expect(who).toEqual(expect.arrayContaining(['friend 22', 'friend 2376']));
    expect(fixture.notes.join('\n')).toContain('Nobody else may now connect to "web"');
    await gce.cloud.allowCallerIp(target, fixture.call);
    expect(seen).toHaveLength(2);
    fixture.cloud.onArrival = () => undefined;
    await gce.machines.remove(target, fixture.call);
    expect(fixture.cloud.listAlive()).toEqual([]);
  });
});

describe("the caller's address", () => {
  const allowedRanges = (): readonly string[] | undefined =>
    fixture.cloud.rules.find(({ name }) => name === `slipway-${MACHINE_ID}`)?.sourceRanges;

  test('is the public one when the machine is reached over the internet', async () => {
    await createInstance({});
    expect([lookupNetworks, allowedRanges()]).toEqual([[undefined], ['127.0.0.1/32']]);
  });

  test.each([
    ['useInternalIp', { useInternalIp: true }, '10.128.0.0/20'],
    ['useInternalIpOnly', { useInternalIpOnly: true }, '10.128.0.0/20'],
    ['no external address', { address: 'none' }, '10.128.0.0/20'],
    ['a subnetwork', { useInternalIp: true, subnetwork: 'inner' }, '10.9.0.0/16'],
  ] as const)("is the local one on the route to the machine's network: %s", async (_, options, network) => {
    await createInstance(options);
    expect([lookupNetworks, allowedRanges()]).toEqual([[network], ['10.9.0.4/32']]);
  });

  test("is the local one on the route to an existing instance's network", async () => {
    const instance = fixture.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    const subnetwork = 'regions/us-central1/subnetworks/inner';
    instance.properties = { ...instance.properties, networkInterfaces: [{ subnetwork }] };
    await createInstance({ useExisting: true, useInternalIp: true, hostKey: `SHA256:${'a'.repeat(43)}` });
    expect([lookupNetworks, allowedRanges()]).toEqual([['10.9.0.0/16'], ['10.9.0.4/32']]);
    expect(fixture.cloud.rules.map(({ network }) => network)).toEqual(['vpc-1']);
  });
});

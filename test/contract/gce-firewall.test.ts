import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Target } from '../../src/drivers/contract.ts';
import { gce } from '../../src/drivers/gce/driver.ts';
import { denyName } from '../../src/drivers/gce/names.ts';
import type { Options } from '../../src/drivers/gce/options.ts';
import type { CloudCall } from '../clouds/cloud.ts';
import { BOOT, gceBench, ID, type Bench } from '../clouds/gce-bench.ts';

/** The machine's own network, by each time that our address was looked for. */
const networks = vi.hoisted(() => [] as (string | undefined)[]);
vi.mock('../../src/drivers/cloud/caller-ip.ts', async (original) => {
  const real = await original<typeof import('../../src/drivers/cloud/caller-ip.ts')>();
  const callerBlock: typeof real.callerBlock = async (endpoint, flag, call, network) => {
    networks.push(network);
    return network === undefined ? await real.callerBlock(endpoint, flag, call) : '10.9.0.4/32';
  };
  return { ...real, callerBlock };
});

let bench: Bench;
beforeEach(async () => {
  networks.length = 0;
  bench = await gceBench();
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

const NAME = 'web-3f9a2c41';
const DENY = `slipway-${ID}-deny`;
const FRIEND = '198.51.100.7';
const STRANGER = '203.0.113.99';
const NEIGHBOUR = '10.128.0.77';

async function made(given: Partial<Options>): Promise<Target<Options>> {
  const wanted = bench.target(given);
  const target = { ...wanted, options: (await gce.settle?.(wanted, bench.call)) ?? wanted.options };
  await gce.create?.(target, BOOT, bench.call);
  return target;
}

/** Of these three, who may connect to SSH and to the engine: `friend 22`. */
function comers(instance = NAME): readonly string[] {
  const who = { friend: FRIEND, stranger: STRANGER, neighbour: NEIGHBOUR };
  return Object.entries(who).flatMap(([name, address]) =>
    [22, 2376].filter((port) => bench.cloud.may(address, port, instance)).map((port) => `${name} ${port}`),
  );
}

const names = (): readonly string[] => bench.cloud.rules.map(({ name }) => name);

describe('a network that admits the world to SSH and neighbours to everything', () => {
  test('does so in the double, as in Google’s own', () => {
    bench.cloud.addInstance({ name: 'else', zone: 'us-central1-a' });
    expect(comers('else')).toEqual(['friend 22', 'stranger 22', 'neighbour 22', 'neighbour 2376']);
  });

  test('does not so for our machine: who is not named is kept out, from before it exists', async () => {
    await made({ allowCidr: [`${FRIEND}/32`] });
    expect(comers()).toEqual(['friend 22', 'friend 2376']);
    const order = bench.cloud.calls.filter(({ mutates }) => mutates).map(({ operation }) => operation);
    expect(order).toEqual(['compute.firewalls.insert', 'compute.firewalls.insert', 'compute.instances.insert']);
  });

  test('nor for the machines of a batch', async () => {
    const settled = await gce.settle?.(bench.target({ allowCidr: [`${FRIEND}/32`] }), bench.call);
    const targets = [0, 1].map((index) =>
      bench.target(settled, { id: `own-${index}`, name: `web-${index}`, batch: { id: ID, index, size: 2 } }),
    );
    await gce.createMany?.(targets, BOOT, bench.call);
    expect(comers('web-1-1-3f9a2c41')).toEqual(['friend 22', 'friend 2376']);
    for (const target of targets) await gce.remove?.(target, bench.call);
    expect(bench.cloud.alive()).toEqual([]);
  });

  test('what is open to the whole internet by name stays so, port 22 too', async () => {
    await made({ allowCidr: [`${FRIEND}/32`], openPort: ['8080', '22'] });
    expect(bench.cloud.may(STRANGER, 8080, NAME)).toBe(true);
    expect(comers()).toEqual(['friend 22', 'friend 2376', 'stranger 22', 'neighbour 22']);
  });

  test('the world may come where it is named, and there is no rule against it', async () => {
    const target = await made({ allowCidr: ['0.0.0.0/0'] });
    expect(names()).toEqual([`slipway-${ID}`]);
    expect(comers()).toContain('stranger 2376');
    await gce.admit?.(target, bench.call);
    expect(names()).toEqual([`slipway-${ID}`]);
  });

  test('an instance that is somebody’s keeps those who came to it', async () => {
    bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    const hostKey = `SHA256:${'a'.repeat(43)}`;
    const target = await made({ useExisting: true, hostKey, allowCidr: [`${FRIEND}/32`] });
    await gce.admit?.(target, bench.call);
    expect(names()).toEqual([`slipway-${ID}`]);
    expect(comers('web')).toEqual(['friend 22', 'friend 2376', 'stranger 22', 'neighbour 22', 'neighbour 2376']);
  });
});

describe('the rule that keeps others out', () => {
  test('carries our marks, has a name that Google takes, and goes with the machine', async () => {
    const target = await made({});
    expect(bench.cloud.rules.find(({ name }) => name === DENY)?.description).toContain(`"slipway-id":"${ID}"`);
    expect(denyName(ID).length).toBeLessThanOrEqual(63);
    await gce.remove?.(target, bench.call);
    expect(bench.cloud.alive()).toEqual([]);
  });

  test('goes when the world is let in, and comes when it is not any more', async () => {
    const target = await made({ allowCidr: [`${FRIEND}/32`] });
    const changed = async (from: readonly string[], to: readonly string[]): Promise<void> => {
      const as = (allowCidr: readonly string[]): Options => ({ ...target.options, allowCidr: [...allowCidr] });
      await gce.change?.({ ...target, options: as(to) }, as(from), bench.call);
    };
    await changed([`${FRIEND}/32`], ['0.0.0.0/0']);
    expect(names()).toEqual([`slipway-${ID}`]);
    expect(comers()).toContain('stranger 2376');
    await changed(['0.0.0.0/0'], [`${FRIEND}/32`]);
    expect(names()).toContain(DENY);
    expect(comers()).toEqual(['friend 22', 'friend 2376']);
  });

  test('is laid for a machine that was made before there was one, without locking anybody out', async () => {
    const target = await made({ allowCidr: [`${FRIEND}/32`] });
    bench.cloud.removeRule(DENY);
    Object.assign(bench.cloud.rules[0] ?? {}, { priority: 1000 });
    const seen: (readonly string[])[] = [];
    bench.cloud.onArrival = ({ mutates }: CloudCall) => {
      if (mutates) seen.push(comers());
      return undefined;
    };
    await gce.admit?.(target, bench.call);
    expect(comers()).toEqual(['friend 22', 'friend 2376']);
    for (const who of seen) expect(who).toEqual(expect.arrayContaining(['friend 22', 'friend 2376']));
    expect(bench.notes.join('\n')).toContain('Nobody else may connect to "web" from now on');
    await gce.admit?.(target, bench.call);
    expect(seen).toHaveLength(2);
    bench.cloud.onArrival = () => undefined;
    await gce.remove?.(target, bench.call);
    expect(bench.cloud.alive()).toEqual([]);
  });
});

describe('our address, as the machine sees it,', () => {
  const own = (): readonly string[] | undefined =>
    bench.cloud.rules.find(({ name }) => name === `slipway-${ID}`)?.sourceRanges;

  test('is that of the internet where it is reached over that', async () => {
    await made({});
    expect([networks, own()]).toEqual([[undefined], ['127.0.0.1/32']]);
  });

  test.each([
    ['useInternalIp', { useInternalIp: true }, '10.128.0.0/20'],
    ['useInternalIpOnly', { useInternalIpOnly: true }, '10.128.0.0/20'],
    ['an address that is none', { address: 'none' }, '10.128.0.0/20'],
    ['a subnetwork', { useInternalIp: true, subnetwork: 'inner' }, '10.9.0.0/16'],
  ] as const)('is that of the way to its network with %s', async (_, given, network) => {
    await made(given);
    expect([networks, own()]).toEqual([[network], ['10.9.0.4/32']]);
  });

  test('is that of the way to the network of an instance that exists', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    const subnetwork = 'regions/us-central1/subnetworks/inner';
    one.properties = { ...one.properties, networkInterfaces: [{ subnetwork }] };
    await made({ useExisting: true, useInternalIp: true, hostKey: `SHA256:${'a'.repeat(43)}` });
    expect([networks, own()]).toEqual([['10.9.0.0/16'], ['10.9.0.4/32']]);
    expect(bench.cloud.rules.map(({ network }) => network)).toEqual(['vpc-1']);
  });
});

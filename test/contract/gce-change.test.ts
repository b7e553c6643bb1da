import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Target } from '../../src/drivers/contract.ts';
import { gce } from '../../src/drivers/gce/driver.ts';
import type { Options } from '../../src/drivers/gce/options.ts';
import { BOOT, gceBench, ID, type Bench } from '../clouds/gce-bench.ts';
import { rejected } from '../fakes/caught.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await gceBench();
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

async function made(given: Partial<Options>): Promise<Target<Options>> {
  const wanted = bench.target(given);
  const options = (await gce.settle?.(wanted, bench.call)) ?? wanted.options;
  const target = { ...wanted, options };
  await gce.create?.(target, BOOT, bench.call);
  return target;
}

const changed = async (target: Target<Options>, now: Partial<Options>): Promise<void> =>
  gce.change?.({ ...target, options: { ...target.options, ...now } }, target.options, bench.call);

const checked = async (target: Target<Options>, now: Partial<Options>): Promise<void> =>
  gce.checkChange?.({ ...target, options: { ...target.options, ...now } }, target.options, bench.call);

const mutations = (): number => bench.cloud.calls.filter(({ mutates }) => mutates).length;

describe('a machine of a batch', () => {
  const CALLERS = { allowCidr: ['203.0.113.0/24'] };

  async function madeTwo(): Promise<readonly [Target<Options>, Target<Options>]> {
    const settled = await gce.settle?.(bench.target(), bench.call);
    const one = (index: number): Target<Options> =>
      bench.target(settled, { id: `own-${index}`, name: `web-${index}`, batch: { id: ID, index, size: 2 } });
    const both = [one(0), one(1)] as const;
    await gce.createMany?.(both, BOOT, bench.call);
    return both;
  }

  test('lets nobody else in than before while the rule is others’ too, and may once it is alone', async () => {
    const [first, second] = await madeTwo();
    const before = mutations();
    expect(await rejected(checked(first, CALLERS))).toMatchObject({
      code: 'USAGE',
      message: '"web-0" shares its firewall rule with the machines that were made with it',
      hint: expect.stringContaining('slipway rm web-0'),
    });
    expect(await rejected(checked(first, { labels: ['team=db'] }))).toBeUndefined();
    expect(mutations()).toBe(before);
    await gce.remove?.(second, bench.call);
    expect(await rejected(checked(first, CALLERS))).toBeUndefined();
  });

  test('that was made again alone changes its own rule, and none of the others’', async () => {
    const [first] = await madeTwo();
    await gce.remove?.(first, bench.call);
    await gce.create?.(first, BOOT, bench.call);
    expect(await rejected(checked(first, CALLERS))).toBeUndefined();
    await changed(first, CALLERS);
    const ranges = Object.fromEntries(bench.cloud.rules.map(({ name, sourceRanges }) => [name, sourceRanges]));
    expect(ranges[`slipway-${first.id}`]).toEqual(CALLERS.allowCidr);
    expect(ranges[`slipway-${ID}`]).toEqual(['127.0.0.1/32']);
  });
});

describe('an instance that exists', () => {
  test('gets other labels and network tags at once, and keeps ours', async () => {
    const target = await made({ labels: ['team=web', 'old=1'], tags: ['front', 'gone'] });
    await changed(target, { labels: ['team=db'], tags: ['front', 'new'] });
    const [one] = bench.cloud.instances;
    expect(one?.labels).toEqual(expect.objectContaining({ team: 'db', 'slipway-id': ID, 'slipway-name': 'web' }));
    expect(one?.labels).not.toHaveProperty('old');
    expect(one?.tags.toSorted()).toEqual(['front', 'new', `slipway-${ID}`]);
  });

  test('lets others in than before, and nobody else', async () => {
    const target = await made({ allowCidr: ['198.51.100.0/24'] });
    await changed(target, { allowCidr: ['203.0.113.0/24'] });
    expect(bench.cloud.rules.map(({ name, sourceRanges }) => [name, sourceRanges])).toEqual([
      [`slipway-${ID}-deny`, ['0.0.0.0/0']],
      [`slipway-${ID}`, ['203.0.113.0/24']],
    ]);
  });

  test('takes another type and a larger disk as it starts, once', async () => {
    const target = await made({});
    const [one] = bench.cloud.instances;
    await vi.waitFor(() => expect(one?.status).toBe('RUNNING'));
    const larger = { ...target, options: { ...target.options, machineType: 'e2-standard-4', diskSize: 60 } };
    for (let times = 0; times < 2; times += 1) {
      await gce.stop?.(larger, { seconds: 30 }, bench.call);
      await gce.start?.(larger, bench.call);
    }
    const sent = bench.cloud.calls.map(({ operation }) => operation);
    expect(sent.filter((name) => /setMachineType|resize/.test(name))).toEqual([
      'compute.instances.setMachineType',
      'compute.disks.resize',
    ]);
    expect(one?.properties.machineType).toContain('e2-standard-4');
  });

  test('is refused a type that there is not, or for other processors, before anything is asked of it', async () => {
    const target = await made({});
    const refused = async (machineType: string) => rejected(checked(target, { machineType }));
    const before = mutations();
    expect(await refused('e2-huge')).toMatchObject({
      code: 'USAGE',
      message: 'There is no machine type e2-huge in us-central1-a',
      hint: expect.stringContaining('--gce-machine-type'),
    });
    expect(await refused('c4a-standard-4')).toMatchObject({
      code: 'USAGE',
      message: 'c4a-standard-4 is ARM64, and the disk of the machine is made for X86_64',
    });
    expect(await refused('n2-standard-2')).toBeUndefined();
    expect(mutations()).toBe(before);
  });

  test('says of each option how it changes', () => {
    const how = (option: string, from: unknown, to: unknown) => gce.changeOf?.(option as 'tags', from, to);
    expect([how('labels', [], ['a=b']), how('machineType', 'a', 'b'), how('zone', 'a', 'b')]).toEqual([
      'live',
      'restart',
      'replace',
    ]);
    expect([how('diskSize', 20, 60), how('diskSize', 60, 20)]).toEqual(['restart', 'replace']);
  });
});

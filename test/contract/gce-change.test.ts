import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Target } from '../../src/drivers/contract.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { gce as gceManifest } from '../../src/drivers/gce/manifest.ts';
import type { GceOptions } from '../../src/drivers/gce/options.ts';
import { BOOT, startGceFixture, MACHINE_ID, type GceFixture } from '../clouds/gce-fixture.ts';
import { catchRejection } from '../fakes/catch-error.ts';

let bench: GceFixture;
beforeEach(async () => {
  bench = await startGceFixture();
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

async function createInstance(given: Partial<GceOptions>): Promise<Target<GceOptions>> {
  const wanted = bench.newTarget(given);
  const options = (await gce.cloud.resolveOptions(wanted, bench.call)) ?? wanted.options;
  const target = { ...wanted, options };
  await gce.machines.create(target, BOOT, bench.call);
  return target;
}

const changeInstance = async (target: Target<GceOptions>, now: Partial<GceOptions>): Promise<void> =>
  gce.changes?.apply?.({ ...target, options: { ...target.options, ...now } }, target.options, bench.call);

const checkInstanceChange = async (target: Target<GceOptions>, now: Partial<GceOptions>): Promise<void> =>
  gce.changes?.validate?.({ ...target, options: { ...target.options, ...now } }, target.options, bench.call);

const countMutations = (): number => bench.cloud.calls.filter(({ mutates }) => mutates).length;

describe('a machine of a batch', () => {
  const CALLERS = { allowCidr: ['203.0.113.0/24'] };

  async function madeTwo(): Promise<readonly [Target<GceOptions>, Target<GceOptions>]> {
    const settled = await gce.cloud.resolveOptions(bench.newTarget(), bench.call);
    const one = (index: number): Target<GceOptions> =>
      bench.newTarget(settled, { id: `own-${index}`, name: `web-${index}`, batch: { id: MACHINE_ID, index, size: 2 } });
    const both = [one(0), one(1)] as const;
    await gce.cloud.createMany(both, BOOT, bench.call);
    return both;
  }

  test("lets nobody else in than before while the rule is others' too, and may once it is alone", async () => {
    const [first, second] = await madeTwo();
    const before = countMutations();
    expect(await catchRejection(checkInstanceChange(first, CALLERS))).toMatchObject({
      code: 'USAGE',
      message: '"web-0" shares its firewall rule with the other machines of its batch',
      hint: expect.stringContaining('slipway rm web-0'),
    });
    expect(await catchRejection(checkInstanceChange(first, { labels: ['team=db'] }))).toBeUndefined();
    expect(countMutations()).toBe(before);
    await gce.machines.remove(second, bench.call);
    expect(await catchRejection(checkInstanceChange(first, CALLERS))).toBeUndefined();
  });

  test("that was made again alone changes its own rule, and none of the others'", async () => {
    const [first] = await madeTwo();
    await gce.machines.remove(first, bench.call);
    await gce.machines.create(first, BOOT, bench.call);
    expect(await catchRejection(checkInstanceChange(first, CALLERS))).toBeUndefined();
    await changeInstance(first, CALLERS);
    const ranges = Object.fromEntries(bench.cloud.rules.map(({ name, sourceRanges }) => [name, sourceRanges]));
    expect(ranges[`slipway-${first.id}`]).toEqual(CALLERS.allowCidr);
    expect(ranges[`slipway-${MACHINE_ID}`]).toEqual(['127.0.0.1/32']);
  });
});

describe('an instance that exists', () => {
  test('gets other labels and network tags at once, and keeps ours', async () => {
    const target = await createInstance({ labels: ['team=web', 'old=1'], tags: ['front', 'gone'] });
    await changeInstance(target, { labels: ['team=db'], tags: ['front', 'new'] });
    const [one] = bench.cloud.instances;
    expect(one?.labels).toEqual(
      expect.objectContaining({ team: 'db', 'slipway-id': MACHINE_ID, 'slipway-name': 'web' }),
    );
    expect(one?.labels).not.toHaveProperty('old');
    expect(one?.tags.toSorted()).toEqual(['front', 'new', `slipway-${MACHINE_ID}`]);
  });

  test('lets others in than before, and nobody else', async () => {
    const target = await createInstance({ allowCidr: ['198.51.100.0/24'] });
    await changeInstance(target, { allowCidr: ['203.0.113.0/24'] });
    expect(bench.cloud.rules.map(({ name, sourceRanges }) => [name, sourceRanges])).toEqual([
      [`slipway-${MACHINE_ID}-deny`, ['0.0.0.0/0']],
      [`slipway-${MACHINE_ID}`, ['203.0.113.0/24']],
    ]);
  });

  test('takes another type and a larger disk as it starts, once', async () => {
    const target = await createInstance({});
    const [one] = bench.cloud.instances;
    await vi.waitFor(() => expect(one?.status).toBe('RUNNING'));
    const larger = { ...target, options: { ...target.options, machineType: 'e2-standard-4', diskSize: 60 } };
    for (let times = 0; times < 2; times += 1) {
      await gce.power?.stop(larger, { seconds: 30 }, bench.call);
      await gce.power?.start(larger, bench.call);
    }
    const sent = bench.cloud.calls.map(({ operation }) => operation);
    expect(sent.filter((name) => /setMachineType|resize/.test(name))).toEqual([
      'compute.instances.setMachineType',
      'compute.disks.resize',
    ]);
    expect(one?.properties.machineType).toContain('e2-standard-4');
  });

  test('is refused a type that there is not, or for other processors, before anything is asked of it', async () => {
    const target = await createInstance({});
    const refused = async (machineType: string) => catchRejection(checkInstanceChange(target, { machineType }));
    const before = countMutations();
    expect(await refused('e2-huge')).toMatchObject({
      code: 'USAGE',
      message: 'The machine type e2-huge does not exist in us-central1-a',
      hint: expect.stringContaining('--gce-machine-type'),
    });
    expect(await refused('c4a-standard-4')).toMatchObject({
      code: 'USAGE',
      message: 'c4a-standard-4 is ARM64, and the disk of the machine is for X86_64',
    });
    expect(await refused('n2-standard-2')).toBeUndefined();
    expect(countMutations()).toBe(before);
  });

  test('says of each option how it changes', () => {
    const how = (option: string, from: unknown, to: unknown) => gceManifest.changeKindOf?.(option as 'tags', from, to);
    expect([how('labels', [], ['a=b']), how('machineType', 'a', 'b'), how('zone', 'a', 'b')]).toEqual([
      'live',
      'restart',
      'replace',
    ]);
    expect([how('diskSize', 20, 60), how('diskSize', 60, 20)]).toEqual(['restart', 'replace']);
  });
});

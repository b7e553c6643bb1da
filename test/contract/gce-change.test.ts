import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Target } from '../../src/drivers/contract.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { gce as gceManifest } from '../../src/drivers/gce/manifest.ts';
import type { GceOptions } from '../../src/drivers/gce/options.ts';
import { BOOT, startGceFixture, MACHINE_ID, type GceFixture } from '../clouds/gce-fixture.ts';
import { catchRejection } from '../fakes/catch-error.ts';

let fixture: GceFixture;
beforeEach(async () => {
  fixture = await startGceFixture();
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

async function createInstance(requested: Partial<GceOptions>): Promise<Target<GceOptions>> {
  const unresolved = fixture.newTarget(requested);
  const options = (await gce.cloud.resolveOptions(unresolved, fixture.call)) ?? unresolved.options;
  const target = { ...unresolved, options };
  await gce.machines.create(target, BOOT, fixture.call);
  return target;
}

const changeInstance = async (target: Target<GceOptions>, changes: Partial<GceOptions>): Promise<void> =>
  gce.changes?.apply?.({ ...target, options: { ...target.options, ...changes } }, target.options, fixture.call);

const checkInstanceChange = async (target: Target<GceOptions>, changes: Partial<GceOptions>): Promise<void> =>
  gce.changes?.validate?.({ ...target, options: { ...target.options, ...changes } }, target.options, fixture.call);

const countMutations = (): number => fixture.cloud.calls.filter(({ mutates }) => mutates).length;

describe('a machine of a batch', () => {
  const OTHER_CALLERS = { allowCidr: ['203.0.113.0/24'] };

  async function createPair(): Promise<readonly [Target<GceOptions>, Target<GceOptions>]> {
    const options = await gce.cloud.resolveOptions(fixture.newTarget(), fixture.call);
    const targetAt = (index: number): Target<GceOptions> =>
      fixture.newTarget(options, {
        id: `own-${index}`,
        name: `web-${index}`,
        batch: { id: MACHINE_ID, index, size: 2 },
      });
    const targets = [targetAt(0), targetAt(1)] as const;
    await gce.cloud.createMany(targets, BOOT, fixture.call);
    return targets;
  }

  test('cannot change its allowed callers while it shares the firewall rule, but can once it is alone', async () => {
    const [first, second] = await createPair();
    const before = countMutations();
    expect(await catchRejection(checkInstanceChange(first, OTHER_CALLERS))).toMatchObject({
      code: 'USAGE',
      message: '"web-0" shares its firewall rule with the other machines of its batch',
      hint: expect.stringContaining('slipway rm web-0'),
    });
    expect(await catchRejection(checkInstanceChange(first, { labels: ['team=db'] }))).toBeUndefined();
    expect(countMutations()).toBe(before);
    await gce.machines.remove(second, fixture.call);
    expect(await catchRejection(checkInstanceChange(first, OTHER_CALLERS))).toBeUndefined();
  });

  test('changes only its own firewall rule after it was recreated alone', async () => {
    const [first] = await createPair();
    await gce.machines.remove(first, fixture.call);
    await gce.machines.create(first, BOOT, fixture.call);
    expect(await catchRejection(checkInstanceChange(first, OTHER_CALLERS))).toBeUndefined();
    await changeInstance(first, OTHER_CALLERS);
    const ranges = Object.fromEntries(fixture.cloud.rules.map(({ name, sourceRanges }) => [name, sourceRanges]));
    expect(ranges[`slipway-${first.id}`]).toEqual(OTHER_CALLERS.allowCidr);
    expect(ranges[`slipway-${MACHINE_ID}`]).toEqual(['127.0.0.1/32']);
  });
});

describe('an existing instance', () => {
  test("gets new labels and network tags at once, and keeps Slipway's", async () => {
    const target = await createInstance({ labels: ['team=web', 'old=1'], tags: ['front', 'gone'] });
    await changeInstance(target, { labels: ['team=db'], tags: ['front', 'new'] });
    const [instance] = fixture.cloud.instances;
    expect(instance?.labels).toEqual(
      expect.objectContaining({ team: 'db', 'slipway-id': MACHINE_ID, 'slipway-name': 'web' }),
    );
    expect(instance?.labels).not.toHaveProperty('old');
    expect(instance?.tags.toSorted()).toEqual(['front', 'new', `slipway-${MACHINE_ID}`]);
  });

  test('replaces its allowed callers', async () => {
    const target = await createInstance({ allowCidr: ['198.51.100.0/24'] });
    await changeInstance(target, { allowCidr: ['203.0.113.0/24'] });
    expect(fixture.cloud.rules.map(({ name, sourceRanges }) => [name, sourceRanges])).toEqual([
      [`slipway-${MACHINE_ID}-deny`, ['0.0.0.0/0']],
      [`slipway-${MACHINE_ID}`, ['203.0.113.0/24']],
    ]);
  });

  test('gets a new machine type and a larger disk on start, only once', async () => {
    const target = await createInstance({});
    const [instance] = fixture.cloud.instances;
    await vi.waitFor(() => expect(instance?.status).toBe('RUNNING'));
    const larger = { ...target, options: { ...target.options, machineType: 'e2-standard-4', diskSize: 60 } };
    for (let times = 0; times < 2; times += 1) {
      await gce.power?.stop(larger, { seconds: 30 }, fixture.call);
      await gce.power?.start(larger, fixture.call);
    }
    const sent = fixture.cloud.calls.map(({ operation }) => operation);
    expect(sent.filter((name) => /setMachineType|resize/.test(name))).toEqual([
      'compute.instances.setMachineType',
      'compute.disks.resize',
    ]);
    expect(instance?.properties.machineType).toContain('e2-standard-4');
  });

  test('refuses a machine type that does not exist or has another architecture, before any change', async () => {
    const target = await createInstance({});
    const getValidationError = async (machineType: string) =>
      catchRejection(checkInstanceChange(target, { machineType }));
    const before = countMutations();
    expect(await getValidationError('e2-huge')).toMatchObject({
      code: 'USAGE',
      message: 'The machine type e2-huge does not exist in us-central1-a',
      hint: expect.stringContaining('--gce-machine-type'),
    });
    expect(await getValidationError('c4a-standard-4')).toMatchObject({
      code: 'USAGE',
      message: 'c4a-standard-4 is ARM64, and the disk of the machine is for X86_64',
    });
    expect(await getValidationError('n2-standard-2')).toBeUndefined();
    expect(countMutations()).toBe(before);
  });

  test('says how each option changes', () => {
    const changeKind = (option: string, from: unknown, to: unknown) =>
      gceManifest.changeKindOf?.(option as 'tags', from, to);
    expect([
      changeKind('labels', [], ['a=b']),
      changeKind('machineType', 'a', 'b'),
      changeKind('zone', 'a', 'b'),
    ]).toEqual(['live', 'restart', 'replace']);
    expect([changeKind('diskSize', 20, 60), changeKind('diskSize', 60, 20)]).toEqual(['restart', 'replace']);
  });
});

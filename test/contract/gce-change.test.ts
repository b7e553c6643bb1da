import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Target } from '../../src/drivers/driver.ts';
import { gce } from '../../src/drivers/gce/gce.ts';
import type { Options } from '../../src/drivers/gce/options.ts';
import { BOOT, gceBench, ID, type Bench } from '../clouds/gce-bench.ts';

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

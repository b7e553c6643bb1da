import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CreateCall, Target } from '../../src/drivers/contract.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import type { GceOptions } from '../../src/drivers/gce/options.ts';
import { HOST_PROJECT, PROJECT } from '../clouds/compute-catalog.ts';
import { BOOT, startGceFixture, type GceFixture } from '../clouds/gce-fixture.ts';
import { expectTypeableHint, optionsInHint } from '../clouds/gce-hints.ts';
import { catchRejection } from '../fakes/catch-error.ts';

let fixture: GceFixture;
beforeEach(async () => {
  fixture = await startGceFixture();
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

async function resolve(options: Partial<GceOptions>, call: CreateCall = fixture.call): Promise<Target<GceOptions>> {
  const unresolved = fixture.newTarget(options);
  return { ...unresolved, options: await gce.cloud.resolveOptions(unresolved, call) };
}

let created = 0;
/** Creates a machine of its own with these options, which the double refuses as Google does. */
async function createWith(options: Partial<GceOptions>): Promise<Target<GceOptions>> {
  created += 1;
  const resolved = {
    ...(await resolve(options)),
    id: `${String(created).padStart(8, '0')}-1d05-4e00-8000-00000000abcd`,
  };
  await gce.machines.create(resolved, BOOT, fixture.call);
  return resolved;
}

const mutations = (): readonly string[] =>
  fixture.cloud.calls.filter(({ mutates }) => mutates).map(({ operation }) => operation);

describe('the wizard', () => {
  test('offers only machine types and images that work together', async () => {
    const { endpoint } = fixture.newTarget().options;
    const answers = { project: PROJECT, endpoint, zone: 'us-central1-a' };
    const types = (await gce.prompts?.machineType?.(answers, fixture.call)) ?? [];
    expect(types.map(({ value }) => value)).toEqual(
      expect.arrayContaining(['e2-medium', 'n4-standard-2', 't2a-standard-1']),
    );
    for (const { value: machineType } of types) {
      const families = (await gce.prompts?.imageFamily?.({ ...answers, machineType }, fixture.call)) ?? [];
      expect(families.length).toBeGreaterThan(0);
      for (const { value: imageFamily, sets } of families)
        await createWith({ ...sets, zone: 'us-central1-a', machineType, imageFamily });
    }
    expect(fixture.cloud.instances.length).toBe(created);
  });

  test('offers only machine types that fit what the flags name', async () => {
    const { endpoint } = fixture.newTarget().options;
    const answers = { project: PROJECT, endpoint, zone: 'us-central1-a' };
    const valuesWith = async (more: object): Promise<readonly string[]> =>
      ((await gce.prompts?.machineType?.({ ...answers, ...more }, fixture.call)) ?? []).map(({ value }) => value);
    expect(await valuesWith({ diskType: 'pd-ssd' })).not.toContain('n4-standard-2');
    expect(await valuesWith({ diskType: 'hyperdisk-balanced' })).toEqual(['n4-standard-2']);
    expect(await valuesWith({ imageFamily: 'debian-12' })).not.toContain('t2a-standard-1');
    expect(await valuesWith({ imageFamily: 'debian-13-arm64' })).toEqual(['t2a-standard-1']);
  });

  test('shows what the external address costs too', async () => {
    const options = fixture.newTarget({ machineType: 'e2-medium', diskSize: 20 }).options;
    expect(await gce.cost.monthly?.(options)).toBeCloseTo(24.46 + 3.65 + 2, 1);
    expect(await gce.cost.monthly?.({ ...options, address: 'none' })).toBeCloseTo(24.46 + 2, 1);
    expect(await gce.cost.monthly?.({ ...options, spot: true })).toBeUndefined();
  });
});

describe('options that do not fit together', () => {
  test.each([
    [
      'a disk that the machine type has not',
      { machineType: 'n4-standard-2', diskType: 'pd-standard' },
      /n4-standard-2 can't boot from a disk of the type pd-standard/,
    ],
    ['a disk that the machine type has not', { machineType: 'c3-standard-4', diskType: 'pd-standard' }, /can't boot/],
    ['Hyperdisk for an older machine type', { machineType: 'e2-medium', diskType: 'hyperdisk-balanced' }, /can't boot/],
    [
      'an image for another architecture',
      { machineType: 't2a-standard-1', imageFamily: 'debian-12' },
      /t2a-standard-1 is ARM64, and the image .* is for X86_64/,
    ],
    ['an ARM image', { imageFamily: 'debian-13-arm64' }, /e2-medium is X86_64, and the image .* is for ARM64/],
    [
      'a disk smaller than the image',
      { imageFamily: 'large', imageProject: PROJECT },
      /needs a disk of at least 50 GB, and --gce-disk-size is 20/,
    ],
    ['an image that is obsolete', { imageFamily: 'debian-9' }, /can't be used any more/],
    ['a machine type that is obsolete', { machineType: 'n1-standard-96' }, /does not exist in us-central1-a/],
    [
      'a disk type that does not exist',
      { diskType: 'pd-golden' },
      /The disk type pd-golden does not exist in us-central1-a/,
    ],
    [
      'an accelerator for a type without any',
      { accelerator: 'type=nvidia-tesla-t4' },
      /e2-medium accepts no accelerators/,
    ],
    [
      'another accelerator than the type has',
      { machineType: 'g2-standard-4', accelerator: 'type=nvidia-tesla-t4' },
      /g2-standard-4 has nvidia-l4, not nvidia-tesla-t4/,
    ],
    [
      'a network that does not exist',
      { network: 'nowhere' },
      /The network nowhere does not exist in the project my-project-42/,
    ],
    [
      'a network without a subnetwork in the region',
      { network: 'custom', zone: 'europe-west3-a' },
      /The network custom has no subnetwork in europe-west3/,
    ],
    [
      'a network with several subnetworks in the region',
      { network: 'crowded' },
      /several subnetworks in us-central1: left, right/,
    ],
    [
      'a subnetwork for proxies',
      { subnetwork: 'proxies' },
      /proxies can't hold an instance: its purpose is REGIONAL_MANAGED_PROXY/,
    ],
    [
      'a subnetwork of another region',
      { subnetwork: 'regions/us-central1/subnetworks/rooms', zone: 'europe-west3-a' },
      /rooms is in us-central1, and the zone europe-west3-a is in europe-west3/,
    ],
  ] as const)('are refused before anything is created: %s', async (_, options, message) => {
    const error = await catchRejection(resolve(options));
    expect(error).toMatchObject({ code: 'USAGE', message: expect.stringMatching(message) });
    expectTypeableHint(error?.hint);
    expect(mutations()).toEqual([]);
    // What the hint says to type works.
    const suggested = optionsInHint(error?.hint) as Partial<GceOptions>;
    if (Object.keys(suggested).length > 0) await createWith({ ...options, ...suggested });
  });

  test('are refused when the type of an existing machine changes', async () => {
    const target = await createWith({});
    const changed = { ...target, options: { ...target.options, machineType: 'n4-standard-2' } };
    const error = await catchRejection(
      gce.changes?.validate?.(changed, target.options, fixture.call) ?? Promise.resolve(),
    );
    expect(error).toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining("can't boot from a disk of the type pd-balanced"),
    });
  });
});

describe('what the user left open', () => {
  test('is a disk and an image that fit the machine type', async () => {
    expect((await createWith({ machineType: 'n4-standard-2' })).options.diskType).toBe('hyperdisk-balanced');
    const arm = await createWith({ machineType: 'c4a-standard-4' });
    expect([arm.options.diskType, arm.options.imageLink]).toEqual([
      'hyperdisk-balanced',
      'projects/debian-cloud/global/images/debian-13-trixie-arm64-v20261111',
    ]);
    expect((await createWith({})).options.diskType).toBe('pd-balanced');
  });

  test('is the only subnetwork of a network in custom mode that can hold an instance', async () => {
    const { options } = await createWith({ network: 'custom' });
    expect(options.subnetwork).toBe('projects/my-project-42/regions/us-central1/subnetworks/rooms');
  });

  test.each([
    ['CLOUDSDK_COMPUTE_ZONE', { CLOUDSDK_COMPUTE_ZONE: 'us-central1-b' }, '', 'us-central1-b'],
    [
      'the zone of the active configuration',
      {},
      '[compute]\nzone = europe-west3-b\nregion = us-central1\n',
      'europe-west3-b',
    ],
    ['the region of the active configuration', {}, '[compute]\nregion = europe-west3\n', 'europe-west3-a'],
    ['nothing', {}, '[core]\nzone = europe-west3-b\n', 'us-central1-a'],
  ])("is the zone of gcloud's settings: %s", async (_, env, configuration, zone) => {
    const folder = join(fixture.folder, '.config', 'gcloud', 'configurations');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'config_default'), configuration);
    const { options } = await resolve({}, fixture.callWith({ ...fixture.cloud.env, ...env }));
    expect(options.zone).toBe(zone);
    const explicit = await resolve({ zone: 'us-central1-a' }, fixture.callWith({ ...fixture.cloud.env, ...env }));
    expect(explicit.options.zone).toBe('us-central1-a');
  });
});

test('a role that may not read networks and disk types can still create a machine: Google then decides', async () => {
  fixture.cloud.onArrival = ({ operation }) =>
    /(networks|diskTypes)\.get$/.test(operation)
      ? { kind: 'refuse', status: 403, code: 'forbidden', message: `Required '${operation}' permission for 'x'` }
      : undefined;
  await createWith({});
  expect(fixture.cloud.instances).toHaveLength(1);
});

test('a subnetwork of a shared VPC has its firewall rules in the project of the network', async () => {
  const subnetwork = `https://www.googleapis.com/compute/v1/projects/${HOST_PROJECT}/regions/us-central1/subnetworks/floor`;
  const target = await createWith({ subnetwork });
  expect(fixture.cloud.rules.map(({ network }) => network)).toEqual(['shared', 'shared']);
  const insertions = fixture.cloud.calls.filter(({ operation }) => operation === 'compute.firewalls.insert');
  expect(insertions.map(({ params }) => params.project)).toEqual([HOST_PROJECT, HOST_PROJECT]);
  await gce.machines.remove(target, fixture.call);
  expect(fixture.cloud.listAlive()).toEqual([]);
});

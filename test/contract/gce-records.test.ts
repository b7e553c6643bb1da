import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { DriverManifest } from '../../src/drivers/contract.ts';
import { gce as gceManifest } from '../../src/drivers/gce/manifest.ts';
import { optionsSchema, type GceOptions } from '../../src/drivers/gce/options.ts';
import { createMachine } from '../../src/operations/create.ts';
import { diffSpecs, keepResolvedOptions } from '../../src/operations/diff-specs.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import type { World } from '../../src/operations/world.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { PROJECT } from '../clouds/compute-catalog.ts';
import { startGceFixture, type GceFixture } from '../clouds/gce-fixture.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn, type RecordingProgress } from '../fakes/test-world.ts';

// What the driver reports decides what the record of a machine allows afterwards.

vi.mock('../../src/drivers/cloud/retry.ts', async (original) => {
  const real = await original<typeof import('../../src/drivers/cloud/retry.ts')>();
  const sleepUnlessCanceled: typeof real.sleepUnlessCanceled = (ms, signal) =>
    real.sleepUnlessCanceled(Math.min(ms, 20), signal);
  return { ...real, sleepUnlessCanceled };
});

let fixture: GceFixture;
let progress: RecordingProgress;
beforeEach(async () => {
  fixture = await startGceFixture();
  progress = recordingProgress();
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

function createWorld(env: Readonly<Record<string, string>> = fixture.cloud.env): World {
  const { computer } = worldIn(fixture.folder, { connect: () => Promise.reject(KILLED) });
  return worldIn(fixture.folder, {
    connect: () => Promise.reject(KILLED),
    computer: { ...computer, env: { HOME: fixture.folder, METADATA_SERVER_DETECTION: 'none', ...env } },
    progress,
  });
}

function specWith(options: Partial<GceOptions>): MachineSpec {
  const { endpoint } = fixture.newTarget().options;
  return specNamed('web', { driver: 'gce', options: optionsSchema.parse({ endpoint, ...options }) });
}

/** Creates a machine, and ends the command once it would connect to the instance. */
async function createAndKill(spec: MachineSpec, world: World): Promise<void> {
  await expect(createMachine(spec, world)).rejects.toBe(KILLED);
}

const lastRequest = async (world: World): Promise<unknown> =>
  ((await world.store.find('web')) as { readonly lastRequest?: unknown } | undefined)?.lastRequest;

test('after a plain refusal, the next create may use another zone, and what was left open is decided again', async () => {
  fixture.cloud.onOperation = ({ operation }) =>
    operation === 'compute.instances.insert'
      ? { code: 'QUOTA_EXCEEDED', message: "Quota 'N2_CPUS' exceeded.  Limit: 8.0 in region us-central1." }
      : undefined;
  const world = createWorld();
  const refusal = await catchRejection(createMachine(specWith({ network: 'custom' }), world));
  expect(refusal).toMatchObject({ code: 'QUOTA', hint: expect.stringContaining('--gce-zone of another region') });
  expect(await lastRequest(world)).toBeUndefined();
  expect(fixture.cloud.listAlive()).toEqual([]);

  fixture.cloud.onOperation = () => undefined;
  // The subnetwork that was found for the first zone must not be used in the second one.
  await createAndKill(specWith({ network: 'vpc-1', zone: 'europe-west3-b' }), world);
  expect(fixture.cloud.instances.map(({ place }) => place)).toEqual(['europe-west3-b']);
  expect((await world.store.find('web'))?.spec.options).toMatchObject({ zone: 'europe-west3-b', network: 'vpc-1' });
  await removeMachine('web', { deprovision: false, force: false }, world);
  expect(fixture.cloud.listAlive()).toEqual([]);
});

test('rm with credentials that Google refuses says that --force forgets, and --force says what may be left', async () => {
  const world = createWorld();
  await createAndKill(specWith({ address: 'static' }), world);
  const expired = createWorld({ ...fixture.cloud.env, CLOUDSDK_AUTH_ACCESS_TOKEN: 'ya29.expired' });
  const refusal = await catchRejection(removeMachine('web', { deprovision: false, force: false }, expired));
  expect(refusal).toMatchObject({
    code: 'CREDENTIALS',
    message: expect.stringContaining('the token in CLOUDSDK_AUTH_ACCESS_TOKEN'),
    hint: expect.stringMatching(/gcloud auth application-default login.*slipway rm --force web/),
  });
  expect(await world.store.find('web')).toBeDefined();

  await removeMachine('web', { deprovision: false, force: true }, expired);
  expect(await world.store.find('web')).toBeUndefined();
  const said = progress.notes.join('\n');
  const [instance] = fixture.cloud.instances;
  expect(said).toContain(`the instance ${instance?.name}`);
  expect(said).toContain('in us-central1-a with its disk');
  expect(said).toContain(`the address ${fixture.cloud.addresses[0]?.name}`);
  expect(said).toContain(`in the project ${PROJECT}`);
  expect(said).toContain(`gcloud compute instances list --project ${PROJECT}`);
  expect(said).toContain(`slipway gc --gce-project ${PROJECT}`);
});

test('the startup script of a machine with a lifetime has its timers, so that it ends without a visit', async () => {
  const world = createWorld();
  const spec = { ...specWith({}), lifetime: { ttl: '4h' } } as MachineSpec;
  await createAndKill(spec, world);
  const script = fixture.cloud.instances[0]?.metadata.find(({ key }) => key === 'startup-script')?.value ?? '';
  const [, encoded = ''] = /^FIRST_BOOT=(.*)$/m.exec(script) ?? [];
  const firstBoot = Buffer.from(encoded, 'base64').toString('utf8');
  expect(firstBoot).toMatch(/\/etc\/systemd\/system\/\S+\.timer/);
  expect(firstBoot).toMatch(/systemctl .*\.timer/);
  await removeMachine('web', { deprovision: false, force: false }, world);
});

test('a machine of an older version keeps its zone and disk, whatever gcloud is set to now', async () => {
  const world = createWorld();
  // Older versions wrote the defaults as if the user had given them.
  await createAndKill(specWith({ zone: 'us-central1-a', diskType: 'pd-balanced' }), world);
  const record = await world.store.read('web');
  const wanted = keepResolvedOptions(record.spec, specWith({}), gceManifest as unknown as DriverManifest);
  expect(diffSpecs(record, wanted, gceManifest as unknown as DriverManifest)).toEqual([]);
  expect(wanted.options).toMatchObject({ zone: 'us-central1-a', diskType: 'pd-balanced' });
  await removeMachine('web', { deprovision: false, force: false }, world);
});

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe as group, expect, test } from 'vitest';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { gce as gceManifest } from '../../src/drivers/gce/manifest.ts';
import { optionsSchema, type GceOptions } from '../../src/drivers/gce/options.ts';
import { coerceOptionValue, describeOptions, parseOptions } from '../../src/machine/options.ts';
import type { InstanceStatus } from '../../src/drivers/contract.ts';
import { PROJECT_NUMBER } from '../clouds/compute-catalog.ts';
import { BOOT, startGceFixture, MACHINE_ID, type GceFixture } from '../clouds/gce-fixture.ts';

let bench: GceFixture;
beforeEach(async () => {
  bench = await startGceFixture();
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

type Json = Readonly<Record<string, unknown>>;
type CreateResult = {
  /** What the double was sent by the last call of this name, at this path: `body.disks.0.boot`. */
  readonly sent: (operation: string, path: string) => unknown;
  readonly resolved: GceOptions;
  readonly instance: InstanceStatus;
};
type OptionCase = {
  /** Flags as they are typed, without `--gce-`; a list where a flag is given more than once. */
  readonly flags: Readonly<Record<string, string | readonly string[]>>;
  readonly setUp?: (bench: GceFixture) => unknown;
  readonly observe: (seen: CreateResult) => unknown;
  readonly expected: unknown;
};

const INSERT_OPERATION = 'instances.insert';
const bodyField =
  (path: string) =>
  ({ sent }: CreateResult): unknown =>
    sent(INSERT_OPERATION, `body.${path}`);
const metadataItem =
  (key: string) =>
  ({ sent }: CreateResult): unknown =>
    (sent(INSERT_OPERATION, 'body.metadata.items') as { key: string; value: string }[]).find((item) => item.key === key)
      ?.value;
const sshHostOf = ({ instance }: CreateResult): Json | undefined =>
  instance.state === 'running' ? (instance.host.ssh as Json | undefined) : undefined;

/** Each option of the driver: a flag, and where Compute Engine or the rest of Slipway meets it. */
const OPTION_CASES: Readonly<Record<keyof GceOptions, OptionCase>> = {
  project: {
    flags: { project: PROJECT_NUMBER },
    observe: ({ sent }) => sent(INSERT_OPERATION, 'project'),
    expected: PROJECT_NUMBER,
  },
  zone: {
    flags: { zone: 'europe-west3-b' },
    observe: ({ sent }) => sent(INSERT_OPERATION, 'zone'),
    expected: 'europe-west3-b',
  },
  machineType: {
    flags: { 'machine-type': 'n2-standard-4' },
    observe: bodyField('machineType'),
    expected: 'zones/us-central1-a/machineTypes/n2-standard-4',
  },
  imageFamily: {
    flags: { 'image-family': 'debian-12' },
    observe: ({ sent }) => [
      sent('images.getFromFamily', 'family'),
      sent(INSERT_OPERATION, 'body.disks.0.initializeParams.sourceImage'),
    ],
    expected: ['debian-12', 'projects/debian-cloud/global/images/debian-12-bookworm-v20261111'],
  },
  imageProject: {
    flags: { 'image-project': 'ubuntu-os-cloud', 'image-family': 'ubuntu-2404-lts-amd64' },
    observe: ({ sent }) => sent('images.getFromFamily', 'project'),
    expected: 'ubuntu-os-cloud',
  },
  machineImage: {
    flags: { 'machine-image': 'debian-cloud/global/images/debian-12-bookworm-v20261111' },
    observe: bodyField('disks.0.initializeParams.sourceImage'),
    expected: 'projects/debian-cloud/global/images/debian-12-bookworm-v20261111',
  },
  diskSize: { flags: { 'disk-size': '33' }, observe: bodyField('disks.0.initializeParams.diskSizeGb'), expected: '33' },
  diskType: {
    flags: { 'disk-type': 'pd-ssd' },
    observe: bodyField('disks.0.initializeParams.diskType'),
    expected: 'zones/us-central1-a/diskTypes/pd-ssd',
  },
  network: {
    flags: { network: 'vpc-1' },
    observe: ({ sent }) => [
      sent(INSERT_OPERATION, 'body.networkInterfaces.0.network'),
      sent('firewalls.insert', 'body.network'),
    ],
    expected: ['global/networks/vpc-1', 'global/networks/vpc-1'],
  },
  subnetwork: {
    flags: { subnetwork: 'inner' },
    observe: ({ sent }) => [
      sent(INSERT_OPERATION, 'body.networkInterfaces.0.subnetwork'),
      sent('firewalls.insert', 'body.network'),
    ],
    // A rule is of a network, which the subnetwork knows.
    expected: ['regions/us-central1/subnetworks/inner', 'projects/my-project-42/global/networks/vpc-1'],
  },
  tags: {
    flags: { tags: ['web', 'db,cache'] },
    observe: bodyField('tags.items'),
    expected: [`slipway-${MACHINE_ID}`, 'web', 'db', 'cache'],
  },
  labels: {
    flags: { labels: ['team=web', 'empty='] },
    observe: bodyField('labels'),
    expected: expect.objectContaining({ team: 'web', empty: '' }),
  },
  serviceAccount: {
    flags: { 'service-account': 'vm@my-project-42.iam.gserviceaccount.com' },
    observe: bodyField('serviceAccounts'),
    expected: [
      { email: 'vm@my-project-42.iam.gserviceaccount.com', scopes: ['https://www.googleapis.com/auth/cloud-platform'] },
    ],
  },
  scopes: {
    flags: { 'service-account': 'vm@example.com', scopes: ['https://www.googleapis.com/auth/logging.write'] },
    observe: bodyField('serviceAccounts.0.scopes'),
    expected: ['https://www.googleapis.com/auth/logging.write'],
  },
  preemptible: {
    flags: { preemptible: 'true' },
    observe: bodyField('scheduling'),
    expected: { preemptible: true, automaticRestart: false, onHostMaintenance: 'TERMINATE' },
  },
  spot: {
    flags: { spot: 'true' },
    observe: bodyField('scheduling'),
    expected: {
      provisioningModel: 'SPOT',
      instanceTerminationAction: 'STOP',
      automaticRestart: false,
      onHostMaintenance: 'TERMINATE',
    },
  },
  accelerator: {
    flags: { accelerator: 'count=2,type=nvidia-tesla-t4' },
    observe: ({ sent }) => [
      sent(INSERT_OPERATION, 'body.guestAccelerators'),
      sent(INSERT_OPERATION, 'body.scheduling.onHostMaintenance'),
    ],
    expected: [
      [{ acceleratorType: 'zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4', acceleratorCount: 2 }],
      // What has one can't be moved.
      'TERMINATE',
    ],
  },
  maintenancePolicy: {
    flags: { 'maintenance-policy': 'TERMINATE' },
    observe: bodyField('scheduling'),
    expected: { automaticRestart: true, onHostMaintenance: 'TERMINATE' },
  },
  minCpuPlatform: {
    flags: { 'min-cpu-platform': 'Intel Ice Lake' },
    observe: bodyField('minCpuPlatform'),
    expected: 'Intel Ice Lake',
  },
  address: {
    flags: { address: 'mine' },
    setUp: ({ cloud }) => cloud.addAddress('mine', 'us-central1', '198.51.100.77'),
    observe: bodyField('networkInterfaces.0.accessConfigs.0.natIP'),
    expected: '198.51.100.77',
  },
  useInternalIp: {
    flags: { 'use-internal-ip': 'true' },
    observe: (seen) => [sshHostOf(seen)?.address, bodyField('networkInterfaces.0.accessConfigs.0.type')(seen)],
    expected: [expect.stringMatching(/^10\./), 'ONE_TO_ONE_NAT'],
  },
  useInternalIpOnly: {
    flags: { 'use-internal-ip-only': 'true' },
    observe: (seen) => [sshHostOf(seen)?.address, bodyField('networkInterfaces.0.accessConfigs')(seen)],
    expected: [expect.stringMatching(/^10\./), undefined],
  },
  metadata: { flags: { metadata: ['colour=a=b'] }, observe: metadataItem('colour'), expected: 'a=b' },
  startupScript: {
    flags: { 'startup-script': 'script.sh' },
    observe: metadataItem('startup-script'),
    expected: expect.stringContaining(`\nTHEIRS=${Buffer.from('#!/bin/sh\necho hello\n').toString('base64')}\n`),
  },
  openPort: {
    flags: { 'open-port': ['8080', '53/udp'] },
    observe: ({ sent }) => [
      sent('firewalls.insert', 'body.name'),
      sent('firewalls.insert', 'body.allowed'),
      sent('firewalls.insert', 'body.sourceRanges'),
    ],
    expected: [
      `slipway-${MACHINE_ID}-open`,
      [
        { IPProtocol: 'tcp', ports: ['8080'] },
        { IPProtocol: 'udp', ports: ['53'] },
      ],
      ['0.0.0.0/0'],
    ],
  },
  allowCidr: {
    flags: { 'allow-cidr': ['198.51.100.0/24', '203.0.113.7/32'] },
    observe: ({ sent }) => sent('firewalls.insert', 'body.sourceRanges'),
    expected: ['198.51.100.0/24', '203.0.113.7/32'],
  },
  sshUser: {
    flags: { 'ssh-user': 'ops' },
    observe: (seen) => [metadataItem('ssh-keys')(seen), sshHostOf(seen)?.user],
    expected: [`ops:${BOOT.authorizedKey}`, 'ops'],
  },
  sshKey: {
    flags: { 'ssh-key': 'key', 'os-login': 'true' },
    observe: (seen) => sshHostOf(seen)?.keyFile,
    expected: expect.stringMatching(/\/key$/),
  },
  osLogin: {
    flags: { 'ssh-key': 'key', 'os-login': 'true' },
    observe: (seen) => [metadataItem('enable-oslogin')(seen), metadataItem('ssh-keys')(seen)],
    expected: ['TRUE', ''],
  },
  useExisting: {
    flags: { 'use-existing': 'true', 'host-key': `SHA256:${'a'.repeat(43)}` },
    setUp: ({ cloud }) => cloud.addInstance({ name: 'web', zone: 'us-central1-a' }),
    observe: ({ sent }) => [sent(INSERT_OPERATION, 'body'), sent('instances.setTags', 'body.items')],
    expected: [undefined, ['theirs', `slipway-${MACHINE_ID}`]],
  },
  hostKey: {
    flags: { 'use-existing': 'true', 'host-key': `SHA256:${'b'.repeat(43)}` },
    setUp: ({ cloud }) => cloud.addInstance({ name: 'web', zone: 'us-central1-a' }),
    observe: (seen) => sshHostOf(seen)?.expectedKey,
    expected: `SHA256:${'b'.repeat(43)}`,
  },
  secureBoot: {
    flags: { 'secure-boot': 'true' },
    observe: bodyField('shieldedInstanceConfig'),
    expected: { enableSecureBoot: true },
  },
  endpoint: {
    // Each row is sent there, since the double is nowhere else.
    flags: {},
    observe: ({ resolved, sent }) => [resolved.endpoint, sent('zones.get', 'zone')],
    expected: [expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/compute\/v1\/$/), 'us-central1-a'],
  },
  instanceLink: {
    // All else is given: the instance is looked at all the same, once.
    flags: { project: 'my-project-42', 'use-existing': 'true', 'host-key': `SHA256:${'b'.repeat(43)}` },
    setUp: ({ cloud }) => cloud.addInstance({ name: 'web', zone: 'us-central1-a' }),
    observe: ({ resolved }) => resolved.instanceLink,
    expected: 'projects/my-project-42/zones/us-central1-a/instances/web',
  },
  imageLink: {
    flags: { 'image-link': 'projects/my-project-42/global/images/ours-7', project: 'my-project-42' },
    // What is known is not asked again, and stays what it was.
    observe: ({ sent }) => [
      sent('images.getFromFamily', 'family'),
      sent(INSERT_OPERATION, 'body.disks.0.initializeParams.sourceImage'),
    ],
    expected: [undefined, 'projects/my-project-42/global/images/ours-7'],
  },
};

const optionInfos = describeOptions(optionsSchema, 'gce');

/** As the command line does it. */
function parseFlagValues(flags: OptionCase['flags']): GceOptions {
  const values = Object.entries(flags).map(([flag, given]) => {
    const info = optionInfos.find((one) => one.flag === `gce-${flag}`);
    if (!info) throw new Error(`there is no flag --gce-${flag}`);
    const file = ['startup-script', 'ssh-key'].includes(flag) ? join(bench.folder, String(given)) : given;
    return [info.key, typeof file === 'string' && info.kind !== 'list' ? coerceOptionValue(info, file) : file] as const;
  });
  return parseOptions(optionsSchema, optionInfos, Object.fromEntries(values));
}

function valueAt(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (inner as Json | undefined)?.[key], value);
}

async function runCreate({ flags, setUp }: OptionCase): Promise<CreateResult> {
  const { cloud, call, folder } = bench;
  await writeFile(join(folder, 'script.sh'), '#!/bin/sh\necho hello\n');
  await writeFile(join(folder, 'key'), 'PRIVATE\n');
  await setUp?.(bench);
  const target = bench.newTarget(parseFlagValues(flags));
  await gce.machines.validate?.(target, call);
  const resolved = (await gce.cloud.resolveOptions(target, call)) ?? target.options;
  await gce.machines.create({ ...target, options: resolved }, BOOT, call);
  await expect
    .poll(async () => (await gce.machines.inspect({ ...target, options: resolved }, call)).state)
    .toBe('running');
  return {
    sent: (operation, path) =>
      valueAt(cloud.calls.findLast((one) => one.operation === `compute.${operation}`)?.params, path),
    resolved,
    instance: await gce.machines.inspect({ ...target, options: resolved }, call),
  };
}

group('an option of gce reaches Compute Engine, or does what it says', () => {
  test('and each has a row here', () => {
    expect(Object.keys(OPTION_CASES).toSorted()).toEqual(Object.keys(optionsSchema.shape).toSorted());
  });

  test.each(Object.entries(OPTION_CASES))('%s', async (_, row) => {
    expect(row.observe(await runCreate(row))).toEqual(row.expected);
  });
});

group('an address', () => {
  const address = async (value: string): Promise<CreateResult> =>
    runCreate({ flags: { address: value }, observe: () => undefined, expected: undefined });

  test('that is static is made, with our marks, and given to the machine', async () => {
    const { sent } = await address('static');
    expect(sent('addresses.insert', 'body.name')).toBe(`slipway-${MACHINE_ID}`);
    expect(sent('addresses.insert', 'body.description')).toContain(`"slipway-id":"${MACHINE_ID}"`);
    expect(sent(INSERT_OPERATION, 'body.networkInterfaces.0.accessConfigs.0.natIP')).toBe(bench.cloud.addresses[0]?.ip);
  });

  test('that is none is not asked for, and the machine is reached inside', async () => {
    const { sent, instance } = await address('none');
    expect(sent(INSERT_OPERATION, 'body.networkInterfaces.0')).toEqual({ network: 'global/networks/default' });
    expect(instance).toMatchObject({ host: { address: expect.stringMatching(/^10\./) } });
  });

  test('that is an IP is taken as it is', async () => {
    bench.cloud.addAddress('mine', 'us-central1', '198.51.100.77');
    expect(
      (await address('198.51.100.77')).sent(INSERT_OPERATION, 'body.networkInterfaces.0.accessConfigs.0.natIP'),
    ).toBe('198.51.100.77');
  });
});

test('in bulk, kinds are named as templates name them, and each machine by its own name', async () => {
  const { cloud, call } = bench;
  const given = parseFlagValues({
    accelerator: 'type=nvidia-l4',
    'machine-type': 'g2-standard-4',
    'disk-type': 'pd-ssd',
  });
  const batch = (index: number) => ({ id: MACHINE_ID, index, size: 2 });
  const settled = await gce.cloud.resolveOptions(bench.newTarget(given, { batch: batch(0) }), call);
  const targets = [0, 1].map((index) =>
    bench.newTarget(settled, { id: `own-${index}`, name: `Web.${index}`, batch: batch(index) }),
  );
  await gce.cloud.createMany(targets, BOOT, call);
  const sent = cloud.calls.find(({ operation }) => operation === 'compute.instances.bulkInsert')?.params.body;
  expect(sent).toMatchObject({
    count: '2',
    minCount: '2',
    perInstanceProperties: { 'web-0-0-3f9a2c41': {}, 'web-1-1-3f9a2c41': {} },
    instanceProperties: {
      machineType: 'g2-standard-4',
      disks: [{ initializeParams: { diskType: 'pd-ssd' } }],
      guestAccelerators: [{ acceleratorType: 'nvidia-l4', acceleratorCount: 1 }],
    },
  });
  expect(cloud.instances.map(({ labels }) => labels['slipway-name'])).toEqual(['web-0', 'web-1']);
  for (const target of targets) await gce.machines.remove(target, call);
  expect(cloud.listAlive()).toEqual([]);
});

test('of a batch, what is gone is made again, alone and by one call', async () => {
  const { cloud, call } = bench;
  const settled = await gce.cloud.resolveOptions(bench.newTarget(), call);
  const targets = [0, 1, 2].map((index) =>
    bench.newTarget(settled, { id: `own-${index}`, name: `web-${index}`, batch: { id: MACHINE_ID, index, size: 3 } }),
  );
  await gce.cloud.createMany(targets, BOOT, call);
  await gce.cloud.createMany(targets, BOOT, call);
  expect(cloud.instances).toHaveLength(3);
  for (const target of targets.slice(1)) await gce.machines.remove(target, call);
  // The rules are everybody's until the last of the batch goes.
  expect(cloud.rules).toHaveLength(2);
  await gce.cloud.createMany(targets, BOOT, call);
  expect(cloud.instances.map(({ name }) => name)).toEqual(['web-0-0-3f9a2c41', 'web-1-1-3f9a2c41', 'web-2-2-3f9a2c41']);
  const bulk = cloud.calls.filter(({ operation }) => operation === 'compute.instances.bulkInsert');
  expect(bulk.map(({ params }) => (params.body as { count: string }).count)).toEqual(['3', '2']);
  for (const target of targets) await gce.machines.remove(target, call);
  expect(cloud.listAlive()).toEqual([]);
});

test('a machine that ends by itself stops, and what goes on costing is said', () => {
  const costs = (given: object): unknown =>
    gceManifest.shutdownBehavior?.({
      id: MACHINE_ID,
      name: 'web',
      options: optionsSchema.parse(given),
      lifetime: { ttl: '4h' },
    });
  expect(costs({ diskSize: 20, diskType: 'pd-balanced' })).toEqual({
    byItself: 'stopped',
    costs: 'its disk still costs about $2.00 a month',
  });
  expect(costs({ address: 'static', diskType: 'hyperdisk-balanced' })).toEqual({
    byItself: 'stopped',
    costs: 'its disk still costs money, and so does its address',
  });
});

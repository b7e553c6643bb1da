import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { gce as gceManifest } from '../../src/drivers/gce/manifest.ts';
import { optionsSchema, type GceOptions } from '../../src/drivers/gce/options.ts';
import { coerceOptionValue, describeOptions, parseOptions } from '../../src/machine/options.ts';
import type { InstanceStatus } from '../../src/drivers/contract.ts';
import { PROJECT_NUMBER } from '../clouds/compute-catalog.ts';
import { BOOT, startGceFixture, MACHINE_ID, type GceFixture } from '../clouds/gce-fixture.ts';

let fixture: GceFixture;
beforeEach(async () => {
  fixture = await startGceFixture();
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

type Json = Readonly<Record<string, unknown>>;
type CreateResult = {
  /** Returns what the last call of this operation sent at this path, such as `body.disks.0.boot`. */
  readonly sent: (operation: string, path: string) => unknown;
  readonly resolved: GceOptions;
  readonly instance: InstanceStatus;
};
type OptionCase = {
  /** Flags as users type them, without `--gce-`; a list when a flag is given more than once. */
  readonly flags: Readonly<Record<string, string | readonly string[]>>;
  readonly setUp?: (fixture: GceFixture) => unknown;
  readonly observe: (result: CreateResult) => unknown;
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

/** Lists, for each option of the driver, a flag and where Compute Engine or the rest of Slipway receives it. */
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
    // A firewall rule needs a network, which the subnetwork names.
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
    flags: {
      'service-account': 'vm@example.com',
      scopes: ['https://www.googleapis.com/auth/logging.write,https://www.googleapis.com/auth/pubsub', 'sqlservice'],
    },
    observe: bodyField('serviceAccounts.0.scopes'),
    expected: [
      'https://www.googleapis.com/auth/logging.write',
      'https://www.googleapis.com/auth/pubsub',
      'https://www.googleapis.com/auth/sqlservice',
    ],
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
    flags: { accelerator: 'count=2,type=nvidia-tesla-t4', 'machine-type': 'n1-standard-4' },
    observe: ({ sent }) => [
      sent(INSERT_OPERATION, 'body.guestAccelerators'),
      sent(INSERT_OPERATION, 'body.scheduling.onHostMaintenance'),
    ],
    expected: [
      [{ acceleratorType: 'zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4', acceleratorCount: 2 }],
      // An instance with an accelerator can't be migrated.
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
    observe: (result) => [sshHostOf(result)?.address, bodyField('networkInterfaces.0.accessConfigs.0.type')(result)],
    expected: [expect.stringMatching(/^10\./), 'ONE_TO_ONE_NAT'],
  },
  useInternalIpOnly: {
    flags: { 'use-internal-ip-only': 'true' },
    observe: (result) => [sshHostOf(result)?.address, bodyField('networkInterfaces.0.accessConfigs')(result)],
    expected: [expect.stringMatching(/^10\./), undefined],
  },
  metadata: { flags: { metadata: ['color=a=b'] }, observe: metadataItem('color'), expected: 'a=b' },
  startupScript: {
    flags: { 'startup-script': 'script.sh' },
    observe: metadataItem('startup-script'),
    expected: expect.stringContaining(`\nUSER_SCRIPT=${Buffer.from('#!/bin/sh\necho hello\n').toString('base64')}\n`),
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
    observe: (result) => [metadataItem('ssh-keys')(result), sshHostOf(result)?.user],
    expected: [`ops:${BOOT.authorizedKey}`, 'ops'],
  },
  sshKey: {
    flags: { 'ssh-key': 'key', 'os-login': 'true' },
    observe: (result) => sshHostOf(result)?.keyFile,
    expected: expect.stringMatching(/\/key$/),
  },
  osLogin: {
    flags: { 'ssh-key': 'key', 'os-login': 'true' },
    observe: (result) => [metadataItem('enable-oslogin')(result), metadataItem('ssh-keys')(result)],
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
    observe: (result) => sshHostOf(result)?.expectedKey,
    expected: `SHA256:${'b'.repeat(43)}`,
  },
  secureBoot: {
    flags: { 'secure-boot': 'true' },
    observe: bodyField('shieldedInstanceConfig'),
    expected: { enableSecureBoot: true },
  },
  endpoint: {
    // Every case uses the endpoint, since the double listens nowhere else.
    flags: {},
    observe: ({ resolved, sent }) => [resolved.endpoint, sent('zones.get', 'zone')],
    expected: [expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/compute\/v1\/$/), 'us-central1-a'],
  },
  instanceLink: {
    // The driver reads the instance once even when all other options are given.
    flags: { project: 'my-project-42', 'use-existing': 'true', 'host-key': `SHA256:${'b'.repeat(43)}` },
    setUp: ({ cloud }) => cloud.addInstance({ name: 'web', zone: 'us-central1-a' }),
    observe: ({ resolved }) => resolved.instanceLink,
    expected: 'projects/my-project-42/zones/us-central1-a/instances/web',
  },
  imageLink: {
    flags: { 'image-link': 'projects/my-project-42/global/images/ours-7', project: 'my-project-42' },
    // An image that is already resolved is not looked up again and stays the same.
    observe: ({ sent }) => [
      sent('images.getFromFamily', 'family'),
      sent(INSERT_OPERATION, 'body.disks.0.initializeParams.sourceImage'),
    ],
    expected: [undefined, 'projects/my-project-42/global/images/ours-7'],
  },
};

const optionSpecs = describeOptions(optionsSchema, 'gce');

/** Parses flags as the command line does. */
function parseFlagValues(flags: OptionCase['flags']): GceOptions {
  const values = Object.entries(flags).map(([flag, value]) => {
    const spec = optionSpecs.find(({ flag: name }) => name === `gce-${flag}`);
    if (!spec) throw new Error(`there is no flag --gce-${flag}`);
    const input = ['startup-script', 'ssh-key'].includes(flag) ? join(fixture.folder, String(value)) : value;
    return [
      spec.key,
      typeof input === 'string' && spec.kind !== 'list' ? coerceOptionValue(spec, input) : input,
    ] as const;
  });
  return parseOptions(optionsSchema, optionSpecs, Object.fromEntries(values)) as GceOptions;
}

function valueAt(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (inner as Json | undefined)?.[key], value);
}

async function runCreate({ flags, setUp }: OptionCase): Promise<CreateResult> {
  const { cloud, call, folder } = fixture;
  await writeFile(join(folder, 'script.sh'), '#!/bin/sh\necho hello\n');
  await writeFile(join(folder, 'key'), 'PRIVATE\n');
  await setUp?.(fixture);
  const target = fixture.newTarget(parseFlagValues(flags));
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

describe('each option of the driver gce', () => {
  test('has a case in this file', () => {
    expect(Object.keys(OPTION_CASES).toSorted()).toEqual(Object.keys(optionsSchema.shape).toSorted());
  });

  test.each(Object.entries(OPTION_CASES))('takes effect: %s', async (_, optionCase) => {
    expect(optionCase.observe(await runCreate(optionCase))).toEqual(optionCase.expected);
  });
});

describe('--gce-address', () => {
  const createWithAddress = async (value: string): Promise<CreateResult> =>
    runCreate({ flags: { address: value }, observe: () => undefined, expected: undefined });

  test('static creates an address with the ID of the machine and assigns it', async () => {
    const { sent } = await createWithAddress('static');
    expect(sent('addresses.insert', 'body.name')).toBe(`slipway-${MACHINE_ID}`);
    expect(sent('addresses.insert', 'body.description')).toContain(`"slipway-id":"${MACHINE_ID}"`);
    expect(sent(INSERT_OPERATION, 'body.networkInterfaces.0.accessConfigs.0.natIP')).toBe(
      fixture.cloud.addresses[0]?.ip,
    );
  });

  test('none requests no external address, and the machine is reached at its internal one', async () => {
    const { sent, instance } = await createWithAddress('none');
    expect(sent(INSERT_OPERATION, 'body.networkInterfaces.0')).toEqual({ network: 'global/networks/default' });
    expect(instance).toMatchObject({ host: { address: expect.stringMatching(/^10\./) } });
  });

  test('uses an existing IP as given', async () => {
    fixture.cloud.addAddress('mine', 'us-central1', '198.51.100.77');
    expect(
      (await createWithAddress('198.51.100.77')).sent(
        INSERT_OPERATION,
        'body.networkInterfaces.0.accessConfigs.0.natIP',
      ),
    ).toBe('198.51.100.77');
  });
});

test('a bulk insert names types as instance templates do, and each machine by its own name', async () => {
  const { cloud, call } = fixture;
  const options = parseFlagValues({
    accelerator: 'type=nvidia-l4',
    'machine-type': 'g2-standard-4',
    'disk-type': 'pd-ssd',
  });
  const batch = (index: number) => ({ id: MACHINE_ID, index, size: 2 });
  const resolved = await gce.cloud.resolveOptions(fixture.newTarget(options, { batch: batch(0) }), call);
  const targets = [0, 1].map((index) =>
    fixture.newTarget(resolved, { id: `own-${index}`, name: `Web.${index}`, batch: batch(index) }),
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

test('createMany recreates only the missing machines of a batch, with one call', async () => {
  const { cloud, call } = fixture;
  const resolved = await gce.cloud.resolveOptions(fixture.newTarget(), call);
  const targets = [0, 1, 2].map((index) =>
    fixture.newTarget(resolved, {
      id: `own-${index}`,
      name: `web-${index}`,
      batch: { id: MACHINE_ID, index, size: 3 },
    }),
  );
  await gce.cloud.createMany(targets, BOOT, call);
  await gce.cloud.createMany(targets, BOOT, call);
  expect(cloud.instances).toHaveLength(3);
  for (const target of targets.slice(1)) await gce.machines.remove(target, call);
  // The machines of a batch share the rules until the last one is removed.
  expect(cloud.rules).toHaveLength(2);
  await gce.cloud.createMany(targets, BOOT, call);
  expect(cloud.instances.map(({ name }) => name)).toEqual(['web-0-0-3f9a2c41', 'web-1-1-3f9a2c41', 'web-2-2-3f9a2c41']);
  const bulk = cloud.calls.filter(({ operation }) => operation === 'compute.instances.bulkInsert');
  expect(bulk.map(({ params }) => (params.body as { count: string }).count)).toEqual(['3', '2']);
  for (const target of targets) await gce.machines.remove(target, call);
  expect(cloud.listAlive()).toEqual([]);
});

test('a machine that powers itself off is stopped, with the remaining cost', () => {
  const shutdownBehavior = (options: object): unknown =>
    gceManifest.shutdownBehavior?.({
      id: MACHINE_ID,
      name: 'web',
      options: optionsSchema.parse(options),
      lifetime: { ttl: '4h' },
    });
  expect(shutdownBehavior({ diskSize: 20, diskType: 'pd-balanced' })).toEqual({
    byItself: 'stopped',
    costs: 'its disk still costs about $2.00 a month',
  });
  expect(shutdownBehavior({ address: 'static', diskType: 'hyperdisk-balanced' })).toEqual({
    byItself: 'stopped',
    costs: 'its disk still costs money, and so does its address',
  });
});

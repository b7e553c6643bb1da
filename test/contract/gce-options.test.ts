import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe as group, expect, test } from 'vitest';
import { gce } from '../../src/drivers/gce/driver.ts';
import { options, type Options } from '../../src/drivers/gce/options.ts';
import { coerce, describe, parseOptions } from '../../src/machine/options.ts';
import type { Instance } from '../../src/drivers/contract.ts';
import { PROJECT_NUMBER } from '../clouds/compute-world.ts';
import { BOOT, gceBench, ID, type Bench } from '../clouds/gce-bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await gceBench();
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

type Json = Readonly<Record<string, unknown>>;
type Seen = {
  /** What the double was sent by the last call of this name, at this path: `body.disks.0.boot`. */
  readonly sent: (operation: string, path: string) => unknown;
  readonly settled: Options;
  readonly instance: Instance;
};
type Row = {
  /** Flags as they are typed, without `--gce-`; a list where a flag is given more than once. */
  readonly flags: Readonly<Record<string, string | readonly string[]>>;
  readonly before?: (bench: Bench) => unknown;
  readonly seen: (seen: Seen) => unknown;
  readonly is: unknown;
};

const INSERT = 'instances.insert';
const inBody =
  (path: string) =>
  ({ sent }: Seen): unknown =>
    sent(INSERT, `body.${path}`);
const metadata =
  (key: string) =>
  ({ sent }: Seen): unknown =>
    (sent(INSERT, 'body.metadata.items') as { key: string; value: string }[]).find((item) => item.key === key)?.value;
const ssh = ({ instance }: Seen): Json | undefined =>
  instance.state === 'running' ? (instance.host.ssh as Json | undefined) : undefined;

/** Each option of the driver: a flag, and where Compute Engine or the rest of Slipway meets it. */
const ROWS: Readonly<Record<keyof Options, Row>> = {
  project: { flags: { project: PROJECT_NUMBER }, seen: ({ sent }) => sent(INSERT, 'project'), is: PROJECT_NUMBER },
  zone: { flags: { zone: 'europe-west3-b' }, seen: ({ sent }) => sent(INSERT, 'zone'), is: 'europe-west3-b' },
  machineType: {
    flags: { 'machine-type': 'n2-standard-4' },
    seen: inBody('machineType'),
    is: 'zones/us-central1-a/machineTypes/n2-standard-4',
  },
  imageFamily: {
    flags: { 'image-family': 'debian-12' },
    seen: ({ sent }) => [
      sent('images.getFromFamily', 'family'),
      sent(INSERT, 'body.disks.0.initializeParams.sourceImage'),
    ],
    is: ['debian-12', 'projects/debian-cloud/global/images/debian-12-bookworm-v20261111'],
  },
  imageProject: {
    flags: { 'image-project': 'ubuntu-os-cloud', 'image-family': 'ubuntu-2404-lts-amd64' },
    seen: ({ sent }) => sent('images.getFromFamily', 'project'),
    is: 'ubuntu-os-cloud',
  },
  machineImage: {
    flags: { 'machine-image': 'debian-cloud/global/images/debian-12-bookworm-v20261111' },
    seen: inBody('disks.0.initializeParams.sourceImage'),
    is: 'projects/debian-cloud/global/images/debian-12-bookworm-v20261111',
  },
  diskSize: { flags: { 'disk-size': '33' }, seen: inBody('disks.0.initializeParams.diskSizeGb'), is: '33' },
  diskType: {
    flags: { 'disk-type': 'pd-ssd' },
    seen: inBody('disks.0.initializeParams.diskType'),
    is: 'zones/us-central1-a/diskTypes/pd-ssd',
  },
  network: {
    flags: { network: 'vpc-1' },
    seen: ({ sent }) => [sent(INSERT, 'body.networkInterfaces.0.network'), sent('firewalls.insert', 'body.network')],
    is: ['global/networks/vpc-1', 'global/networks/vpc-1'],
  },
  subnetwork: {
    flags: { subnetwork: 'inner' },
    seen: ({ sent }) => [sent(INSERT, 'body.networkInterfaces.0.subnetwork'), sent('firewalls.insert', 'body.network')],
    // A rule is of a network, which the subnetwork knows.
    is: ['regions/us-central1/subnetworks/inner', 'projects/my-project-42/global/networks/vpc-1'],
  },
  tags: {
    flags: { tags: ['web', 'db,cache'] },
    seen: inBody('tags.items'),
    is: [`slipway-${ID}`, 'web', 'db', 'cache'],
  },
  labels: {
    flags: { labels: ['team=web', 'empty='] },
    seen: inBody('labels'),
    is: expect.objectContaining({ team: 'web', empty: '' }),
  },
  serviceAccount: {
    flags: { 'service-account': 'vm@my-project-42.iam.gserviceaccount.com' },
    seen: inBody('serviceAccounts'),
    is: [
      { email: 'vm@my-project-42.iam.gserviceaccount.com', scopes: ['https://www.googleapis.com/auth/cloud-platform'] },
    ],
  },
  scopes: {
    flags: { 'service-account': 'vm@example.com', scopes: ['https://www.googleapis.com/auth/logging.write'] },
    seen: inBody('serviceAccounts.0.scopes'),
    is: ['https://www.googleapis.com/auth/logging.write'],
  },
  preemptible: {
    flags: { preemptible: 'true' },
    seen: inBody('scheduling'),
    is: { preemptible: true, automaticRestart: false, onHostMaintenance: 'TERMINATE' },
  },
  spot: {
    flags: { spot: 'true' },
    seen: inBody('scheduling'),
    is: {
      provisioningModel: 'SPOT',
      instanceTerminationAction: 'STOP',
      automaticRestart: false,
      onHostMaintenance: 'TERMINATE',
    },
  },
  accelerator: {
    flags: { accelerator: 'count=2,type=nvidia-tesla-t4' },
    seen: ({ sent }) => [sent(INSERT, 'body.guestAccelerators'), sent(INSERT, 'body.scheduling.onHostMaintenance')],
    is: [
      [{ acceleratorType: 'zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4', acceleratorCount: 2 }],
      // What has one can't be moved.
      'TERMINATE',
    ],
  },
  maintenancePolicy: {
    flags: { 'maintenance-policy': 'TERMINATE' },
    seen: inBody('scheduling'),
    is: { automaticRestart: true, onHostMaintenance: 'TERMINATE' },
  },
  minCpuPlatform: {
    flags: { 'min-cpu-platform': 'Intel Ice Lake' },
    seen: inBody('minCpuPlatform'),
    is: 'Intel Ice Lake',
  },
  address: {
    flags: { address: 'mine' },
    before: ({ cloud }) => cloud.addAddress('mine', 'us-central1', '198.51.100.77'),
    seen: inBody('networkInterfaces.0.accessConfigs.0.natIP'),
    is: '198.51.100.77',
  },
  useInternalIp: {
    flags: { 'use-internal-ip': 'true' },
    seen: (seen) => [ssh(seen)?.address, inBody('networkInterfaces.0.accessConfigs.0.type')(seen)],
    is: [expect.stringMatching(/^10\./), 'ONE_TO_ONE_NAT'],
  },
  useInternalIpOnly: {
    flags: { 'use-internal-ip-only': 'true' },
    seen: (seen) => [ssh(seen)?.address, inBody('networkInterfaces.0.accessConfigs')(seen)],
    is: [expect.stringMatching(/^10\./), undefined],
  },
  metadata: { flags: { metadata: ['colour=a=b'] }, seen: metadata('colour'), is: 'a=b' },
  startupScript: {
    flags: { 'startup-script': 'script.sh' },
    seen: metadata('startup-script'),
    is: expect.stringContaining(`\nTHEIRS=${Buffer.from('#!/bin/sh\necho hello\n').toString('base64')}\n`),
  },
  openPort: {
    flags: { 'open-port': ['8080', '53/udp'] },
    seen: ({ sent }) => [
      sent('firewalls.insert', 'body.name'),
      sent('firewalls.insert', 'body.allowed'),
      sent('firewalls.insert', 'body.sourceRanges'),
    ],
    is: [
      `slipway-${ID}-open`,
      [
        { IPProtocol: 'tcp', ports: ['8080'] },
        { IPProtocol: 'udp', ports: ['53'] },
      ],
      ['0.0.0.0/0'],
    ],
  },
  allowCidr: {
    flags: { 'allow-cidr': ['198.51.100.0/24', '203.0.113.7/32'] },
    seen: ({ sent }) => sent('firewalls.insert', 'body.sourceRanges'),
    is: ['198.51.100.0/24', '203.0.113.7/32'],
  },
  sshUser: {
    flags: { 'ssh-user': 'ops' },
    seen: (seen) => [metadata('ssh-keys')(seen), ssh(seen)?.user],
    is: [`ops:${BOOT.authorizedKey}`, 'ops'],
  },
  sshKey: {
    flags: { 'ssh-key': 'key', 'os-login': 'true' },
    seen: (seen) => ssh(seen)?.keyFile,
    is: expect.stringMatching(/\/key$/),
  },
  osLogin: {
    flags: { 'ssh-key': 'key', 'os-login': 'true' },
    seen: (seen) => [metadata('enable-oslogin')(seen), metadata('ssh-keys')(seen)],
    is: ['TRUE', ''],
  },
  useExisting: {
    flags: { 'use-existing': 'true', 'host-key': `SHA256:${'a'.repeat(43)}` },
    before: ({ cloud }) => cloud.addInstance({ name: 'web', zone: 'us-central1-a' }),
    seen: ({ sent }) => [sent(INSERT, 'body'), sent('instances.setTags', 'body.items')],
    is: [undefined, ['theirs', `slipway-${ID}`]],
  },
  hostKey: {
    flags: { 'use-existing': 'true', 'host-key': `SHA256:${'b'.repeat(43)}` },
    before: ({ cloud }) => cloud.addInstance({ name: 'web', zone: 'us-central1-a' }),
    seen: (seen) => ssh(seen)?.expectedKey,
    is: `SHA256:${'b'.repeat(43)}`,
  },
  secureBoot: {
    flags: { 'secure-boot': 'true' },
    seen: inBody('shieldedInstanceConfig'),
    is: { enableSecureBoot: true },
  },
  endpoint: {
    // Each row is sent there, since the double is nowhere else.
    flags: {},
    seen: ({ settled, sent }) => [settled.endpoint, sent('zones.get', 'zone')],
    is: [expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/compute\/v1\/$/), 'us-central1-a'],
  },
  instanceLink: {
    // All else is given: the instance is looked at all the same, once.
    flags: { project: 'my-project-42', 'use-existing': 'true', 'host-key': `SHA256:${'b'.repeat(43)}` },
    before: ({ cloud }) => cloud.addInstance({ name: 'web', zone: 'us-central1-a' }),
    seen: ({ settled }) => settled.instanceLink,
    is: 'projects/my-project-42/zones/us-central1-a/instances/web',
  },
  imageLink: {
    flags: { 'image-link': 'projects/my-project-42/global/images/ours-7', project: 'my-project-42' },
    // What is known is not asked again, and stays what it was.
    seen: ({ sent }) => [
      sent('images.getFromFamily', 'family'),
      sent(INSERT, 'body.disks.0.initializeParams.sourceImage'),
    ],
    is: [undefined, 'projects/my-project-42/global/images/ours-7'],
  },
};

const infos = describe(options, 'gce');

/** As the command line does it. */
function optionsOf(flags: Row['flags']): Options {
  const values = Object.entries(flags).map(([flag, given]) => {
    const info = infos.find((one) => one.flag === `gce-${flag}`);
    if (!info) throw new Error(`there is no flag --gce-${flag}`);
    const file = ['startup-script', 'ssh-key'].includes(flag) ? join(bench.folder, String(given)) : given;
    return [info.key, typeof file === 'string' && info.kind !== 'list' ? coerce(info, file) : file] as const;
  });
  return parseOptions(options, infos, Object.fromEntries(values));
}

function at(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (inner as Json | undefined)?.[key], value);
}

async function see({ flags, before }: Row): Promise<Seen> {
  const { cloud, call, folder } = bench;
  await writeFile(join(folder, 'script.sh'), '#!/bin/sh\necho hello\n');
  await writeFile(join(folder, 'key'), 'PRIVATE\n');
  await before?.(bench);
  const target = bench.target(optionsOf(flags));
  await gce.check?.(target, call);
  const settled = (await gce.settle?.(target, call)) ?? target.options;
  await gce.create?.({ ...target, options: settled }, BOOT, call);
  await expect.poll(async () => (await gce.inspect({ ...target, options: settled }, call)).state).toBe('running');
  return {
    sent: (operation, path) =>
      at(cloud.calls.findLast((one) => one.operation === `compute.${operation}`)?.params, path),
    settled,
    instance: await gce.inspect({ ...target, options: settled }, call),
  };
}

group('an option of gce reaches Compute Engine, or does what it says', () => {
  test('and each has a row here', () => {
    expect(Object.keys(ROWS).toSorted()).toEqual(Object.keys(options.shape).toSorted());
  });

  test.each(Object.entries(ROWS))('%s', async (_, row) => {
    expect(row.seen(await see(row))).toEqual(row.is);
  });
});

group('an address', () => {
  const address = async (value: string): Promise<Seen> =>
    see({ flags: { address: value }, seen: () => undefined, is: undefined });

  test('that is static is made, with our marks, and given to the machine', async () => {
    const { sent } = await address('static');
    expect(sent('addresses.insert', 'body.name')).toBe(`slipway-${ID}`);
    expect(sent('addresses.insert', 'body.description')).toContain(`"slipway-id":"${ID}"`);
    expect(sent(INSERT, 'body.networkInterfaces.0.accessConfigs.0.natIP')).toBe(bench.cloud.addresses[0]?.ip);
  });

  test('that is none is not asked for, and the machine is reached inside', async () => {
    const { sent, instance } = await address('none');
    expect(sent(INSERT, 'body.networkInterfaces.0')).toEqual({ network: 'global/networks/default' });
    expect(instance).toMatchObject({ host: { address: expect.stringMatching(/^10\./) } });
  });

  test('that is an IP is taken as it is', async () => {
    bench.cloud.addAddress('mine', 'us-central1', '198.51.100.77');
    expect((await address('198.51.100.77')).sent(INSERT, 'body.networkInterfaces.0.accessConfigs.0.natIP')).toBe(
      '198.51.100.77',
    );
  });
});

test('in bulk, kinds are named as templates name them, and each machine by its own name', async () => {
  const { cloud, call } = bench;
  const given = optionsOf({ accelerator: 'type=nvidia-l4', 'machine-type': 'g2-standard-4', 'disk-type': 'pd-ssd' });
  const batch = (index: number) => ({ id: ID, index, size: 2 });
  const settled = await gce.settle?.(bench.target(given, { batch: batch(0) }), call);
  const targets = [0, 1].map((index) =>
    bench.target(settled, { id: `own-${index}`, name: `Web.${index}`, batch: batch(index) }),
  );
  await gce.createMany?.(targets, BOOT, call);
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
  for (const target of targets) await gce.remove?.(target, call);
  expect(cloud.alive()).toEqual([]);
});

test('of a batch, what is gone is made again, alone and by one call', async () => {
  const { cloud, call } = bench;
  const settled = await gce.settle?.(bench.target(), call);
  const targets = [0, 1, 2].map((index) =>
    bench.target(settled, { id: `own-${index}`, name: `web-${index}`, batch: { id: ID, index, size: 3 } }),
  );
  await gce.createMany?.(targets, BOOT, call);
  await gce.createMany?.(targets, BOOT, call);
  expect(cloud.instances).toHaveLength(3);
  for (const target of targets.slice(1)) await gce.remove?.(target, call);
  // The rules are everybody's until the last of the batch goes.
  expect(cloud.rules).toHaveLength(2);
  await gce.createMany?.(targets, BOOT, call);
  expect(cloud.instances.map(({ name }) => name)).toEqual(['web-0-0-3f9a2c41', 'web-1-1-3f9a2c41', 'web-2-2-3f9a2c41']);
  const bulk = cloud.calls.filter(({ operation }) => operation === 'compute.instances.bulkInsert');
  expect(bulk.map(({ params }) => (params.body as { count: string }).count)).toEqual(['3', '2']);
  for (const target of targets) await gce.remove?.(target, call);
  expect(cloud.alive()).toEqual([]);
});

test('a machine that ends by itself stops, and what goes on costing is said', () => {
  const costs = (given: object): unknown =>
    gce.ends?.({ id: ID, name: 'web', options: options.parse(given), life: { ttl: '4h' } });
  expect(costs({ diskSize: 20, diskType: 'pd-balanced' })).toEqual({
    byItself: 'stopped',
    costs: 'its disk goes on costing about $2.00 a month',
  });
  expect(costs({ address: 'static', diskType: 'hyperdisk-balanced' })).toEqual({
    byItself: 'stopped',
    costs: 'its disk goes on costing, and so does its address',
  });
});

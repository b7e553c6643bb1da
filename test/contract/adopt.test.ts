import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateTagsCommand, EC2Client, ImportKeyPairCommand, RunInstancesCommand } from '@aws-sdk/client-ec2';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { readConfigJson } from '../../src/docker-machine/config-json/read.ts';
import { isManagedBySlipway } from '../../src/docker-machine/config-json/mark.ts';
import { openDockerMachineStore } from '../../src/docker-machine/docker-machine-store.ts';
import { importMachine } from '../../src/operations/import.ts';
import { provisionMachine } from '../../src/operations/provision-machine.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import { inspectMachine, startMachine, stopMachine } from '../../src/operations/power.ts';
import type { World } from '../../src/operations/world.ts';
import type { Machine } from '../../src/machine/model.ts';
import type { Guests, Resource } from '../clouds/cloud.ts';
import { stubUserEnvironment } from '../clouds/ec2-fixture.ts';
import { startEc2, type Ec2 } from '../clouds/ec2-double.ts';
import { startGce, type Gce } from '../clouds/gce-double.ts';
import { API_PATH, PROJECT } from '../clouds/compute-catalog.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost, type FakeHost } from '../fakes/fake-host.ts';
import { worldIn } from '../fakes/test-world.ts';

const keyFolder = mkdtempSync(join(tmpdir(), 'slipway-test-'));
const KEY_FILE = join(keyFolder, 'id_rsa');
writeFileSync(KEY_FILE, '-----BEGIN RSA PRIVATE KEY-----\n', { mode: 0o600 });
afterAll(() => rmSync(keyFolder, { recursive: true }));
afterEach(() => void vi.unstubAllEnvs());

/** Backs every instance that the cloud creates with the same host. */
const guestsOn = (host: FakeHost): Guests => ({
  start: async () => ({
    address: host.address,
    host: undefined,
    stop: async () => host.halt(),
    start: async () => {
      await host.boot();
      return host.address;
    },
    remove: async () => host.halt(),
  }),
});

/** Returns the machine that a config.json of Docker Machine describes, with the engine of the host. */
function machineFromConfig(config: object, folder: string, host: FakeHost): Machine {
  const machine = readConfigJson('web', folder, JSON.stringify({ ConfigVersion: 3, ...config }));
  if (machine?.phase !== 'ready') throw new Error('config.json describes no ready machine');
  const spec = { ...machine.spec, engine: { ...machine.spec.engine, port: host.port } };
  return { ...machine, spec, endpoint: { url: `tcp://${host.address}:${host.port}`, tls: true } };
}

async function checkLifecycle(world: World): Promise<void> {
  const readPinnedKey = async (): Promise<string | undefined> => (await world.store.read('web')).host?.ssh?.hostKey;
  expect(await inspectMachine(await world.store.read('web'), world)).toMatchObject({ state: 'running' });
  await provisionMachine('web', (spec) => spec, world);
  expect(await world.store.read('web')).not.toHaveProperty('adoptedResource');
  const pinnedKey = await readPinnedKey();
  expect(pinnedKey).toMatch(/^ssh-ed25519 /);
  await stopMachine('web', 10, world);
  expect(await inspectMachine(await world.store.read('web'), world)).toMatchObject({ state: 'stopped' });
  await startMachine('web', world);
  expect(await readPinnedKey()).toBe(pinnedKey);
  await removeMachine('web', { deprovision: false, force: false }, world);
}

describe('an EC2 instance that Docker Machine created', () => {
  async function launchInstance(cloud: Ec2): Promise<{ readonly id: string; readonly client: EC2Client }> {
    const client = new EC2Client({});
    await client.send(new ImportKeyPairCommand({ KeyName: 'web', PublicKeyMaterial: Buffer.from('ssh-rsa AAAA') }));
    const { Instances } = await client.send(
      new RunInstancesCommand({
        ImageId: 'ami-0debian13new',
        InstanceType: 't3.small',
        KeyName: 'web',
        MinCount: 1,
        MaxCount: 1,
        BlockDeviceMappings: [{ DeviceName: '/dev/sda1', Ebs: { VolumeSize: 16, DeleteOnTermination: true } }],
        NetworkInterfaces: [{ DeviceIndex: 0, AssociatePublicIpAddress: true, SubnetId: 'subnet-a' }],
      }),
    );
    await vi.waitFor(() => expect(cloud.instances[0]?.state).toBe('running'), { timeout: 5000 });
    return { id: Instances?.[0]?.InstanceId ?? '', client };
  }

  const configFor = (InstanceId: string): object => ({
    DriverName: 'amazonec2',
    Driver: {
      IPAddress: '127.0.0.1',
      SSHUser: 'ubuntu',
      SSHPort: 22,
      SSHKeyPath: KEY_FILE,
      Region: 'eu-central-1',
      InstanceType: 't3.small',
      InstanceId,
      KeyName: 'web',
      ExistingKey: false,
      RootSize: 16,
      VolumeType: 'gp2',
      VpcId: 'vpc-eu-central-1',
    },
  });

  test('is provisioned, stopped, started and removed, and leaves nothing behind', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    await using cloud = await startEc2({ guests: guestsOn(host) });
    stubUserEnvironment(cloud, home.path);
    const { id } = await launchInstance(cloud);
    const world = worldIn(home.path, { connect: host.connect });
    await world.store.write(machineFromConfig(configFor(id), join(home.path, 'machines', 'web'), host));
    await checkLifecycle(world);
    expect(cloud.listAlive()).toEqual([]);
    expect(cloud.instances[0]?.tags).toMatchObject({ 'slipway-name': 'web', 'slipway-key-pair': 'web' });
  });

  test("moves with its key from Docker Machine's store to Slipway's, and can be removed there", async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    await using cloud = await startEc2({ guests: guestsOn(host) });
    stubUserEnvironment(cloud, home.path);
    const { id } = await launchInstance(cloud);
    const root = join(home.path, 'docker-machine');
    const folder = join(root, 'machines', 'web');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'id_rsa'), await readFile(KEY_FILE));
    const { Driver, ...rest } = configFor(id) as { Driver: object };
    const configWithKey = { ...rest, Driver: { ...Driver, SSHKeyPath: join(folder, 'id_rsa') } };
    await writeFile(join(folder, 'config.json'), JSON.stringify({ ConfigVersion: 3, ...configWithKey }));
    const world = worldIn(home.path, { connect: host.connect });
    const source = {
      store: openDockerMachineStore(root),
      readCaKey: async () => undefined,
      isViewOf: isManagedBySlipway,
    };
    const { engineProblem } = await importMachine('web', source, { keep: false }, world);
    // Docker Machine left no certificates in this folder.
    expect(engineProblem).toBe('its certificates are missing; to fix it: slipway provision web');
    const machine = await world.store.read('web');
    const key = join(world.store.paths('web').ssh, 'id_rsa');
    expect(machine).toMatchObject({
      spec: { driver: 'ec2', options: { sshKey: key } },
      host: { ssh: { keyFile: key } },
    });
    expect(machine).not.toHaveProperty('adoptedResource');
    expect(cloud.instances[0]?.tags).toMatchObject({ 'slipway-id': machine.spec.id });
    expect(await source.store.listNames()).toEqual([]);
    await removeMachine('web', { deprovision: false, force: false }, world);
    expect(cloud.listAlive()).toEqual([]);
  });

  test("keeps disks without DeleteOnTermination and the user's own key pair when it is removed", async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    await using cloud = await startEc2({ guests: guestsOn(host) });
    stubUserEnvironment(cloud, home.path);
    const { id } = await launchInstance(cloud);
    Object.assign(cloud.volumes[0] ?? {}, { deleteOnTermination: false });
    const world = worldIn(home.path, { connect: host.connect });
    const machine = machineFromConfig(configFor(id), join(home.path, 'machines', 'web'), host);
    await world.store.write({ ...machine, adoptedResource: id });
    await removeMachine('web', { deprovision: false, force: false }, world);
    const remainingKinds = cloud.listAlive().map(({ kind }: Resource) => kind);
    expect(remainingKinds.toSorted()).toEqual(['disk', 'key pair']);
  });

  test('is not removed when its tags now name another machine', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    await using cloud = await startEc2({ guests: guestsOn(host) });
    stubUserEnvironment(cloud, home.path);
    const { id, client } = await launchInstance(cloud);
    const Tags = [
      { Key: 'slipway-id', Value: 'another' },
      { Key: 'slipway-name', Value: 'theirs' },
    ];
    await client.send(new CreateTagsCommand({ Resources: [id], Tags }));
    const world = worldIn(home.path, { connect: host.connect });
    await world.store.write(machineFromConfig(configFor(id), join(home.path, 'machines', 'web'), host));
    const error = await catchRejection(removeMachine('web', { deprovision: false, force: false }, world));
    expect(error).toMatchObject({ code: 'PROVIDER_REFUSED', message: expect.stringContaining('"theirs"') });
    expect(cloud.instances[0]?.state).toBe('running');
    expect(await world.store.read('web')).toMatchObject({ adoptedResource: `${id}/web` });
  });

  test('is not considered gone when the credentials are for another account', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    await using cloud = await startEc2({ guests: guestsOn(host) });
    stubUserEnvironment(cloud, home.path);
    const world = worldIn(home.path, { connect: host.connect });
    const machine = machineFromConfig(configFor('i-gone'), join(home.path, 'machines', 'web'), host);
    await world.store.write({
      ...machine,
      spec: { ...machine.spec, options: { ...machine.spec.options, vpc: 'vpc-theirs' } },
    });
    const error = await catchRejection(removeMachine('web', { deprovision: false, force: false }, world));
    expect(error).toMatchObject({ code: 'CREDENTIALS', message: expect.stringContaining('vpc-theirs') });
    // With the right account the instance really is gone, so the record is deleted.
    await world.store.write(machine);
    await removeMachine('web', { deprovision: false, force: false }, world);
    expect(await world.store.find('web')).toBeUndefined();
  });
});

describe('a Compute Engine instance that Docker Machine created', () => {
  async function insertInstance(cloud: Gce): Promise<void> {
    const body = {
      name: 'web',
      machineType: 'zones/europe-west3-a/machineTypes/e2-medium',
      disks: [
        {
          boot: true,
          autoDelete: false,
          initializeParams: { sourceImage: 'projects/debian-cloud/global/images/family/debian-13', diskSizeGb: '10' },
        },
      ],
      networkInterfaces: [
        { network: 'global/networks/default', accessConfigs: [{ type: 'ONE_TO_ONE_NAT', name: 'External NAT' }] },
      ],
    };
    const { CLOUDSDK_AUTH_ACCESS_TOKEN: token } = cloud.env;
    const response = await fetch(`${cloud.url}${API_PATH}projects/${PROJECT}/zones/europe-west3-a/instances`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify(body),
    });
    expect([response.status, await response.text()]).toEqual([200, expect.any(String)]);
    await vi.waitFor(() => expect(cloud.instances[0]?.status).toBe('RUNNING'), { timeout: 5000 });
  }

  test('is provisioned, stopped, started and removed, and leaves nothing behind', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    await using cloud = await startGce({ guests: guestsOn(host), bootTime: 5 });
    await insertInstance(cloud);
    const world = worldIn(home.path, { connect: host.connect });
    const env = { HOME: home.path, METADATA_SERVER_DETECTION: 'none', ...cloud.env };
    const authenticatedWorld = { ...world, computer: { ...world.computer, env } };
    const config = {
      DriverName: 'google',
      Driver: {
        IPAddress: '127.0.0.1',
        SSHUser: 'docker-user',
        SSHPort: 22,
        SSHKeyPath: KEY_FILE,
        Zone: 'europe-west3-a',
        Project: PROJECT,
        MachineType: 'e2-medium',
        DiskSize: 10,
        DiskType: 'pd-standard',
      },
    };
    const machine = machineFromConfig(config, join(home.path, 'machines', 'web'), host);
    const options = { ...machine.spec.options, endpoint: `${cloud.url}${API_PATH}` };
    await authenticatedWorld.store.write({ ...machine, spec: { ...machine.spec, options } });
    await checkLifecycle(authenticatedWorld);
    expect(cloud.listAlive()).toEqual([]);
  });
});

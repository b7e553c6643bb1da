import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readConfigJson } from '../../src/docker-machine/config-json/read.ts';
import { openDockerMachineStore } from '../../src/docker-machine/docker-machine-store.ts';
import { isManagedBySlipway } from '../../src/docker-machine/config-json/mark.ts';
import { getDriver } from '../../src/drivers/registry.ts';
import type { Machine } from '../../src/machine/model.ts';
import { applyFileChanges } from '../../src/computer/files.ts';
import { formatConfigJson } from '../../src/docker-machine/config-json/write.ts';
import { dockerMachineProfile } from '../../src/profiles/docker-machine.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { withSlashes } from '../fakes/file-modes.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { clientPlacesIn } from '../fakes/client-paths.ts';

const storeRoot = '/home/me/.docker/machine';
const folder = `${storeRoot}/machines/web`;

/** Returns the part of version 3 that all expected files have. */
const hostOptions = (more: Record<string, unknown> = {}): object => ({
  Driver: '',
  Memory: 0,
  Disk: 0,
  EngineOptions: {
    ArbitraryFlags: [],
    Dns: null,
    GraphDir: '',
    Env: [],
    Ipv6: false,
    InsecureRegistry: [],
    Labels: [],
    LogLevel: '',
    StorageDriver: '',
    SelinuxEnabled: false,
    TlsVerify: true,
    RegistryMirror: [],
    InstallURL: 'https://get.docker.com',
    ...more,
  },
  SwarmOptions: {
    IsSwarm: false,
    Address: '',
    Discovery: '',
    Agent: false,
    Master: false,
    Host: 'tcp://0.0.0.0:3376',
    Image: 'swarm:latest',
    Strategy: 'spread',
    Heartbeat: 0,
    Overcommit: 0,
    ArbitraryFlags: [],
    ArbitraryJoinFlags: [],
    Env: null,
    IsExperimental: false,
  },
  AuthOptions: {
    CertDir: `${storeRoot}/certs`,
    CaCertPath: `${storeRoot}/certs/ca.pem`,
    CaPrivateKeyPath: `${storeRoot}/certs/ca-key.pem`,
    CaCertRemotePath: '',
    ServerCertPath: `${storeRoot}/machines/web/server.pem`,
    ServerKeyPath: `${storeRoot}/machines/web/server-key.pem`,
    ClientKeyPath: `${storeRoot}/certs/key.pem`,
    ServerCertRemotePath: '',
    ServerKeyRemotePath: '',
    ClientCertPath: `${storeRoot}/certs/cert.pem`,
    ServerCertSANs: [],
    StorePath: `${storeRoot}/machines/web`,
  },
});

const driverValues = (more: Record<string, unknown>): object => ({
  IPAddress: '192.0.2.10',
  MachineName: 'web',
  SSHUser: 'root',
  SSHPort: 22,
  SSHKeyPath: '',
  StorePath: storeRoot,
  SwarmMaster: false,
  SwarmHost: '',
  SwarmDiscovery: '',
  ...more,
});

const ssh = { address: '192.0.2.10', port: 22, user: 'root', keyFile: '/home/me/.ssh/web' };
const generic = readyMachine('web', {
  spec: specNamed('web', {
    options: { ipAddress: '192.0.2.10', sshUser: 'root', sshPort: 22, sshKey: '/home/me/.ssh/web' },
  }),
  host: { address: '192.0.2.10', ssh },
});
const none = readyMachine('web', {
  spec: specNamed('web', { driver: 'none', options: { url: 'tcp://192.0.2.10:2375' } }),
  host: { address: '192.0.2.10', engine: { url: 'tcp://192.0.2.10:2375' } },
  endpoint: { url: 'tcp://192.0.2.10:2375', tls: false },
});
const ec2 = readyMachine('web', {
  spec: specNamed('web', {
    driver: 'ec2',
    options: getDriver('ec2').options.parse({
      region: 'eu-central-1',
      zone: 'eu-central-1b',
      ami: 'ami-0123',
      instanceType: 't3.small',
      vpc: 'vpc-0123',
      subnet: 'subnet-0123',
      securityGroup: ['docker-machine'],
      securityGroupReadonly: true,
      openPort: ['8080'],
      tags: ['team=web', 'env=ci'],
      deviceName: '/dev/sda1',
      volumeType: 'gp2',
      keypairName: 'web',
      sshKey: `${folder}/id_rsa`,
      sshUser: 'ubuntu',
    }),
  }),
  host: { address: '192.0.2.10', ssh: { ...ssh, user: 'ubuntu', keyFile: `${folder}/id_rsa` } },
});
const gce = readyMachine('web', {
  spec: specNamed('web', {
    driver: 'gce',
    options: getDriver('gce').options.parse({
      project: 'my-project',
      zone: 'europe-west3-a',
      machineType: 'e2-small',
      machineImage: 'debian-cloud/global/images/family/debian-13',
      diskSize: 12,
      diskType: 'pd-ssd',
      tags: ['web', 'ci'],
      openPort: ['8080/tcp'],
      sshUser: 'docker-user',
      sshKey: `${folder}/id_rsa`,
      instanceLink: 'projects/my-project/zones/europe-west3-a/instances/web',
    }),
  }),
  host: { address: '192.0.2.10', ssh: { ...ssh, user: 'docker-user', keyFile: `${folder}/id_rsa` } },
});
const machines = { generic, none, ec2, gce };

const expectedDrivers: Record<keyof typeof machines, { name: string; values: object }> = {
  generic: {
    name: 'generic',
    values: driverValues({ SSHKeyPath: '/home/me/.ssh/web', EnginePort: 2376, SSHKey: '/home/me/.ssh/web' }),
  },
  none: {
    name: 'none',
    values: driverValues({ IPAddress: '192.0.2.10:2375', SSHUser: '', SSHPort: 0, URL: 'tcp://192.0.2.10:2375' }),
  },
  ec2: {
    name: 'amazonec2',
    values: driverValues({
      SSHUser: 'ubuntu',
      SSHKeyPath: `${folder}/id_rsa`,
      Id: '',
      AccessKey: '',
      SecretKey: '',
      SessionToken: '',
      Region: 'eu-central-1',
      AMI: 'ami-0123',
      SSHKeyID: 0,
      ExistingKey: true,
      KeyName: 'web',
      InstanceId: '',
      InstanceType: 't3.small',
      PrivateIPAddress: '',
      SecurityGroupId: '',
      SecurityGroupIds: null,
      SecurityGroupName: '',
      SecurityGroupNames: ['docker-machine'],
      SecurityGroupReadOnly: true,
      OpenPorts: ['8080'],
      Tags: 'team,web,env,ci',
      ReservationId: '',
      DeviceName: '/dev/sda1',
      RootSize: 16,
      VolumeType: 'gp2',
      IamInstanceProfile: '',
      VpcId: 'vpc-0123',
      SubnetId: 'subnet-0123',
      Zone: 'b',
      RequestSpotInstance: false,
      SpotPrice: '',
      BlockDurationMinutes: 0,
      PrivateIPOnly: false,
      UsePrivateIP: false,
      UseEbsOptimizedInstance: false,
      Monitoring: false,
      SSHPrivateKeyPath: `${folder}/id_rsa`,
      RetryCount: 8,
      Endpoint: '',
      DisableSSL: false,
      UserDataFile: '',
    }),
  },
  gce: {
    name: 'google',
    values: driverValues({
      SSHUser: 'docker-user',
      SSHKeyPath: `${folder}/id_rsa`,
      Zone: 'europe-west3-a',
      MachineType: 'e2-small',
      MachineImage: 'debian-cloud/global/images/family/debian-13',
      DiskType: 'pd-ssd',
      Address: '',
      Network: 'default',
      Subnetwork: '',
      Preemptible: false,
      UseInternalIP: false,
      UseInternalIPOnly: false,
      ServiceAccount: '',
      Scopes: '',
      DiskSize: 12,
      Project: 'my-project',
      Tags: 'web,ci',
      UseExisting: false,
      OpenPorts: ['8080/tcp'],
    }),
  },
};

describe.each(Object.entries(machines))('a machine of the driver %s', (which, machine) => {
  const { name, values } = expectedDrivers[which as keyof typeof machines];

  test("is written with Docker Machine's members, in its order", () => {
    const golden = {
      ConfigVersion: 3,
      Driver: values,
      DriverName: name,
      HostOptions: hostOptions(),
      Name: 'web',
      Slipway: { Id: 'id-of-web', Host: machine.host, Endpoint: machine.endpoint },
    };
    const written = formatConfigJson(machine, { root: storeRoot });
    // JSON doubles the backslashes of Windows.
    expect(withSlashes(written.replaceAll('\\\\', '\\'))).toBe(JSON.stringify(golden, null, 4));
  });

  test('is read as it was written, even if Docker Machine has rewritten the file', () => {
    const view = JSON.parse(formatConfigJson(machine, { root: storeRoot })) as Record<string, unknown>;
    const marked = readConfigJson('web', folder, JSON.stringify(view));
    delete view.Slipway;
    const plain = readConfigJson('web', folder, JSON.stringify(view));
    const options = getDriver(machine.spec.driver).options;
    for (const read of [marked, plain]) {
      expect(read?.host).toEqual(machine.host);
      expect(read?.endpoint).toEqual(machine.endpoint);
      expect(options.parse(read?.spec.options)).toEqual(
        // The number of retries is not read from the file: the default applies.
        which === 'ec2' ? { ...options.parse(machine.spec.options), retries: 8 } : options.parse(machine.spec.options),
      );
    }
    expect([marked && isManagedBySlipway(marked), plain && isManagedBySlipway(plain)]).toEqual([true, false]);
  });
});

test('an incomplete machine has a config.json too', () => {
  const incomplete: Machine = { version: 1, phase: 'creating', spec: specNamed('web') };
  const view = JSON.parse(formatConfigJson(incomplete, { root: storeRoot })) as { Driver: object; Slipway: object };
  expect(view.Driver).toMatchObject({ IPAddress: '192.0.2.10', SSHUser: 'root' });
  expect(view.Slipway).toEqual({ Id: 'id-of-web' });
});

test('config.json has no secrets: engine variables have no values, and cloud keys are empty', () => {
  const engine = { ...ec2.spec.engine, env: ['HTTPS_PROXY=http://me:hunter2@proxy'] };
  const existing = { Driver: { AccessKey: 'AKIAHUNTER2', SecretKey: 'hunter2', SessionToken: 'hunter2' } };
  const view = formatConfigJson({ ...ec2, spec: { ...ec2.spec, engine } }, { root: storeRoot, existing });
  expect(view).not.toMatch(/hunter2/i);
  expect(JSON.parse(view)).toMatchObject({ HostOptions: { EngineOptions: { Env: ['HTTPS_PROXY'] } } });
});

test('unknown members of the replaced file are kept', () => {
  const existing = {
    Later: 'yes',
    Driver: { Novelty: 1, IPAddress: '198.51.100.1' },
    HostOptions: {
      EngineOptions: { Dns: ['192.0.2.53'], Novelty: 2 },
      SwarmOptions: { IsSwarm: true, Master: true },
      AuthOptions: { CaCertPath: '/srv/team/ca.pem', CaPrivateKeyPath: '/srv/team/ca-key.pem' },
    },
  };
  const view = JSON.parse(formatConfigJson(generic, { root: storeRoot, existing })) as unknown;
  expect(view).toMatchObject({
    Later: 'yes',
    Driver: { Novelty: 1, IPAddress: '192.0.2.10' },
    HostOptions: {
      EngineOptions: { Dns: ['192.0.2.53'], Novelty: 2, Labels: [] },
      SwarmOptions: { IsSwarm: true, Master: true },
      AuthOptions: { CaCertPath: '/srv/team/ca.pem', CaPrivateKeyPath: '/srv/team/ca-key.pem' },
    },
  });
});

test("the engine's options are read as they were written", () => {
  const engine = {
    ...generic.spec.engine,
    opt: ['log-driver=local'],
    label: ['a=b'],
    registryMirror: ['https://mirror.example'],
    insecureRegistry: ['registry.example:5000'],
    storageDriver: 'overlay2',
    tlsSan: ['web.example'],
  };
  const machine = { ...generic, spec: { ...generic.spec, engine } };
  const view = JSON.parse(formatConfigJson(machine, { root: storeRoot })) as { Slipway?: unknown };
  delete view.Slipway;
  const { tlsSan: _names, ...read } = readConfigJson('web', folder, JSON.stringify(view))?.spec.engine ?? {};
  expect(read).toEqual({ ...engine, tlsSan: undefined });
});

// --- files of Docker Machine -----------------------------------------------------------------------------------------

const configFileText = (more: Record<string, unknown>): string => JSON.stringify({ ConfigVersion: 3, ...more });

describe('a machine of Docker Machine', () => {
  test('has the same id at each read, and another id for another instance', () => {
    const formatConfig = (InstanceId: string): string =>
      configFileText({
        DriverName: 'amazonec2',
        Driver: { IPAddress: '192.0.2.10', Region: 'eu-central-1', InstanceId },
      });
    const id = (text: string): string | undefined => readConfigJson('web', folder, text)?.spec.id;
    expect(id(formatConfig('i-1'))).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(id(formatConfig('i-1'))).toBe(id(formatConfig('i-1')));
    expect(id(formatConfig('i-1'))).not.toBe(id(formatConfig('i-2')));
  });

  test("on EC2 is adopted with the key pair that was imported for it, but not with the user's own", () => {
    const values = {
      IPAddress: '192.0.2.10',
      Region: 'eu-central-1',
      InstanceId: 'i-1',
      KeyName: 'web',
      SecretKey: 'hunter2',
    };
    const readAdopted = (ExistingKey: boolean): string | undefined =>
      readConfigJson('web', folder, configFileText({ DriverName: 'amazonec2', Driver: { ...values, ExistingKey } }))
        ?.adoptedResource;
    expect([readAdopted(false), readAdopted(true)]).toEqual(['i-1/web', 'i-1']);
    expect(
      JSON.stringify(readConfigJson('web', folder, configFileText({ DriverName: 'amazonec2', Driver: values }))),
    ).not.toMatch('hunter2');
  });

  test('that is stopped can be started', () => {
    const Driver = { IPAddress: '', Zone: 'europe-west3-a', Project: 'my-project' };
    const machine = readConfigJson('web', folder, configFileText({ DriverName: 'google', Driver }));
    expect(machine).toMatchObject({ phase: 'ready', adoptedResource: 'europe-west3-a/web' });
  });

  test('of a driver that Slipway does not have is read with its addresses', () => {
    const Driver = { IPAddress: '192.168.99.100', SSHUser: 'docker', SSHPort: 53507, SSHKeyPath: `${folder}/id_rsa` };
    expect(readConfigJson('web', folder, configFileText({ DriverName: 'virtualbox', Driver }))).toMatchObject({
      phase: 'ready',
      spec: { driver: 'virtualbox', options: {} },
      host: { address: '192.168.99.100', ssh: { address: '127.0.0.1', port: 53507, user: 'docker' } },
      endpoint: { url: 'tcp://192.168.99.100:2376', tls: true },
    });
  });

  test('of a plugin with the name of a Slipway driver does not get that driver', () => {
    const machine = readConfigJson(
      'web',
      folder,
      configFileText({ DriverName: 'qemu', Driver: { IPAddress: '192.0.2.10' } }),
    );
    expect(machine?.spec.driver).toBe('docker-machine-driver-qemu');
  });

  test('of the driver none can have any text as its URL', () => {
    const machine = readConfigJson('web', folder, configFileText({ DriverName: 'none', Driver: { URL: 'url1' } }));
    expect(machine).toMatchObject({ phase: 'ready', endpoint: { url: 'url1', tls: false }, host: { address: '' } });
  });

  test('has its engine options with their values', () => {
    const EngineOptions = {
      Env: ['A=b c'],
      Labels: ['x=y'],
      InstallURL: 'https://mirror.example/install.sh',
      StorageDriver: 'overlay2',
    };
    const text = configFileText({
      DriverName: 'generic',
      Driver: { IPAddress: '192.0.2.10', EnginePort: 2377 },
      HostOptions: { EngineOptions },
    });
    expect(readConfigJson('web', folder, text)).toMatchObject({
      endpoint: { url: 'tcp://192.0.2.10:2377' },
      spec: {
        engine: {
          env: ['A=b c'],
          label: ['x=y'],
          source: 'url',
          installUrl: 'https://mirror.example/install.sh',
          storageDriver: 'overlay2',
          port: 2377,
        },
      },
    });
  });

  const driver = { IPAddress: '192.0.2.10', SSHUser: 'root', SSHPort: 2222 };
  test.each([
    [0, { DriverName: 'generic', Driver: driver, StorePath: folder, CaCertPath: '/old/ca.pem' }],
    [
      1,
      {
        ConfigVersion: 1,
        DriverName: 'generic',
        Driver: driver,
        StorePath: folder,
        HostOptions: { AuthOptions: { PrivateKeyPath: '/old/ca-key.pem' } },
      },
    ],
    [2, { ConfigVersion: 2, DriverName: 'generic', Driver: driver, Name: 'web' }],
  ])('of version %i is read', (_version, config) => {
    expect(readConfigJson('web', folder, JSON.stringify(config))).toMatchObject({
      phase: 'ready',
      host: { address: '192.0.2.10', ssh: { port: 2222 } },
      endpoint: { url: 'tcp://192.0.2.10:2376', tls: true },
    });
  });

  test.each([
    ['', 'it is empty'],
    ['{', 'it is not JSON'],
    ['[]', 'it is not a record'],
    ['null', 'it is not a record'],
    ['{"ConfigVersion":"3"}', 'its ConfigVersion is not a number'],
    [configFileText({ Driver: {} }), 'names no driver'],
    [configFileText({ DriverName: 'toString', Driver: {} }), 'names no driver'],
    [configFileText({ DriverName: 'generic', Driver: 'x' }), 'names no driver'],
    [
      configFileText({ DriverName: 'generic', Driver: { IPAddress: '-oProxyCommand=x' } }),
      'ipAddress of its driver is invalid',
    ],
    [
      configFileText({ DriverName: 'amazonec2', Driver: { InstanceId: 'i-1', Region: '../..' } }),
      'region of its driver is invalid',
    ],
    [
      JSON.stringify({ ConfigVersion: 4, DriverName: 'generic', Driver: {} }),
      'config version is from the future -- you should upgrade your Docker Machine client',
    ],
  ])("whose file can't be used is reported as a broken record: %s", (text, why) => {
    expect(() => readConfigJson('web', folder, text)).toThrow(
      expect.objectContaining({ code: 'RECORD_BROKEN', message: expect.stringContaining(why) }),
    );
  });

  test.each([
    { IPAddress: 7, SSHPort: 'x', SSHUser: [], EnginePort: -1 },
    { IPAddress: '192.0.2.10', SSHPort: 99_999, SSHKeyPath: {}, EnginePort: 1e9 },
  ])('whose file has members of wrong types is read without them: %j', (Driver) => {
    const HostOptions = {
      EngineOptions: { Labels: 'x', Env: [1, 'A=b'], RegistryMirror: null },
      AuthOptions: 5,
      SwarmOptions: [],
    };
    const machine = readConfigJson(
      'web',
      folder,
      configFileText({ DriverName: 'generic', Driver, HostOptions, Slipway: { Id: 1 } }),
    );
    expect(machine?.spec.engine).toMatchObject({ port: 2376, label: [], env: ['A=b'], registryMirror: [] });
    expect(
      formatConfigJson(machine as Machine, { root: storeRoot, existing: { Driver: [], HostOptions: 3 } }),
    ).toContain('"ConfigVersion": 3');
  });
});

// --- the store -------------------------------------------------------------------------------------------------------

test("the store lists Docker Machine's machines, Slipway's, and broken records", async () => {
  await using home = await createTemporaryFolder();
  const store = openDockerMachineStore(home.path);
  await store.write(readyMachine('ours'));
  const writeConfig = async (name: string, text: string): Promise<void> => {
    await mkdir(join(home.path, 'machines', name), { recursive: true });
    await writeFile(join(home.path, 'machines', name, 'config.json'), text);
  };
  await writeConfig('theirs', configFileText({ DriverName: 'generic', Driver: { IPAddress: '192.0.2.20' } }));
  await writeConfig('torn', '{"ConfigVersion": 3, "Dri');
  await mkdir(join(home.path, 'machines', 'empty'));
  const rows = (await store.list()).map((item) => [
    item.name,
    'broken' in item ? item.broken.code : item.machine.host?.address,
  ]);
  expect(rows).toEqual([
    ['ours', '192.0.2.10'],
    ['theirs', '192.0.2.20'],
    ['torn', 'RECORD_BROKEN'],
  ]);
});

test('machine.json takes precedence over config.json, and config.json is rewritten from it', async () => {
  await using home = await createTemporaryFolder();
  const store = openDockerMachineStore(home.path, { swarm: { IsSwarm: true, Host: 'tcp://0.0.0.0:3376' } });
  const config = join(home.path, 'machines', 'web', 'config.json');
  await store.write(generic);
  await writeFile(config, (await readFile(config, 'utf8')).replaceAll('192.0.2.10', '192.0.2.66'));
  expect((await store.read('web')).host?.address).toBe('192.0.2.10');
  await openDockerMachineStore(home.path).write(generic);
  expect(JSON.parse(await readFile(config, 'utf8'))).toMatchObject({
    Driver: { IPAddress: '192.0.2.10', StorePath: home.path, SwarmHost: 'tcp://0.0.0.0:3376' },
    HostOptions: { SwarmOptions: { IsSwarm: true } },
  });
});

test('a key that Slipway created is also stored where clients of Docker Machine look for it', async () => {
  await using home = await createTemporaryFolder();
  const store = openDockerMachineStore(home.path);
  const { folder: own, ssh: keys } = store.paths('web');
  await mkdir(keys, { recursive: true });
  await writeFile(join(keys, 'id_ed25519'), 'PRIVATE');
  await store.write(generic);
  expect(await readFile(join(own, 'id_rsa'), 'utf8')).toBe('PRIVATE');
});

// --- the profile -----------------------------------------------------------------------------------------------------

describe('the profile docker-machine', () => {
  const tls = { ca: 'CA', cert: 'CERT', key: 'KEY' };

  test("adds a machine of Slipway to Docker Machine's store, and removes it again", async () => {
    await using home = await createTemporaryFolder();
    const clientPaths = clientPlacesIn(home.path);
    await applyFileChanges(dockerMachineProfile.changesToAdd({ machine: generic, tls, clientPaths }));
    const read = await openDockerMachineStore(clientPaths.dockerMachine).read('web');
    expect([isManagedBySlipway(read), read.spec.id, read.endpoint]).toEqual([true, generic.spec.id, generic.endpoint]);
    // Docker Machine verifies the engine with these files, because the store's own CA did not sign its certificate.
    const folder = join(clientPaths.dockerMachine, 'machines', 'web');
    const shown = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as {
      HostOptions: { AuthOptions: object };
    };
    expect(shown.HostOptions.AuthOptions).toMatchObject({
      CaCertPath: join(folder, 'ca.pem'),
      ClientCertPath: join(folder, 'cert.pem'),
      ClientKeyPath: join(folder, 'key.pem'),
    });
    expect(await dockerMachineProfile.findConflict('web', generic.spec.id, clientPaths)).toBeUndefined();
    expect(await dockerMachineProfile.findConflict('web', 'another', clientPaths)).toMatchObject({
      code: 'CONTEXT_TAKEN',
    });
    await applyFileChanges(dockerMachineProfile.changesToRemove('web', clientPaths));
    await expect(readFile(join(clientPaths.dockerMachine, 'machines', 'web', 'ca.pem'))).rejects.toThrow('ENOENT');
    expect(await openDockerMachineStore(clientPaths.dockerMachine).listNames()).toEqual([]);
  });

  test('refuses a name that Docker Machine, the drop-in or a folder with files already uses', async () => {
    await using home = await createTemporaryFolder();
    const places = clientPlacesIn(home.path);
    const own = join(places.dockerMachine, 'machines', 'web');
    await mkdir(own, { recursive: true });
    await writeFile(join(own, 'ca.pem'), 'THEIRS');
    expect(await dockerMachineProfile.findConflict('web', generic.spec.id, places)).toMatchObject({
      code: 'CONTEXT_TAKEN',
    });
    await openDockerMachineStore(places.dockerMachine).write(generic);
    expect(await dockerMachineProfile.findConflict('web', generic.spec.id, places)).toMatchObject({
      code: 'CONTEXT_TAKEN',
    });
  });

  test('removes only files that it wrote', async () => {
    await using home = await createTemporaryFolder();
    const clientPaths = clientPlacesIn(home.path);
    await applyFileChanges(dockerMachineProfile.changesToAdd({ machine: generic, tls, clientPaths }));
    const note = join(clientPaths.dockerMachine, 'machines', 'web', 'note.txt');
    await writeFile(note, 'mine');
    await applyFileChanges(dockerMachineProfile.changesToRemove('web', clientPaths));
    expect(await readFile(note, 'utf8')).toBe('mine');
  });
});

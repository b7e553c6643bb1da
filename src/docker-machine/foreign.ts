/** Machines of the old tool, as its config.json tells of them. Nothing secret is read from there but the engine's own variables. */
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { drivers } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import type { EngineSpec, Host, Machine, MachineSpec, SshTarget } from '../machine/model.ts';
import { MARK, type Mark, type Overrides } from '../profiles/docker-machine.ts';
import { engineOptions } from '../machine/spec.ts';
import type { Foreign } from './view.ts';

const NEWEST = 3;
const ENGINE_PORT = 2376;

type Fields = Readonly<Record<string, unknown>>;

/** Undefined where there is no config.json. RECORD_BROKEN where it can't be used. */
export function readForeign(name: string, folder: string, text: string | undefined): Machine | undefined {
  if (text === undefined) return undefined;
  const path = join(folder, 'config.json');
  const broken = (why: string, cause?: unknown): SlipwayError =>
    new SlipwayError('RECORD_BROKEN', `The record of "${name}" can't be used: ${why} (${path})`, {
      hint: 'Mend the file, or take its folder away',
      cause,
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw broken(text.trim() === '' ? 'it is empty' : 'it is not JSON', error);
  }
  if (!isFields(value)) throw broken('it is not a record');
  const version = value.ConfigVersion ?? 0;
  if (typeof version !== 'number') throw broken('its ConfigVersion is no number');
  if (version > NEWEST) {
    throw new SlipwayError(
      'RECORD_BROKEN',
      'config version is from the future -- you should upgrade your Docker Machine client',
      { hint: `${path} is of version ${version}` },
    );
  }
  const config = migrated(value, version, folder);
  const driverName = textIn(config.DriverName);
  if (driverName === undefined || !isDriverName(driverName) || !isFields(config.Driver))
    throw broken('it names no driver');
  const mark = markIn(config);
  const made = mark ? ofSlipway(name, driverName, config, mark) : machineOf(name, folder, driverName, config);
  const problem = optionsProblem(made.spec);
  if (problem !== undefined) throw broken(problem);
  return made;
}

// --- versions --------------------------------------------------------------------------------------------------------

/** As the old tool brings older ones to version 3 when it reads them, as far as we read it; the file stays as it is. */
function migrated(config: Fields, version: number, folder: string): Fields {
  const root = dirname(dirname(folder));
  if (version >= NEWEST) return config;
  const options = fields(config.HostOptions);
  const auth = fields(options.AuthOptions);
  const flat = version === 0;
  const AuthOptions = {
    ...auth,
    CertDir: textIn(auth.CertDir) ?? join(root, 'certs'),
    CaCertPath: (flat ? textIn(config.CaCertPath) : undefined) ?? textIn(auth.CaCertPath) ?? '',
    CaPrivateKeyPath:
      (flat ? textIn(config.PrivateKeyPath) : undefined) ??
      textIn(auth.CaPrivateKeyPath) ??
      textIn(auth.PrivateKeyPath) ??
      '',
    ClientCertPath: (flat ? textIn(config.ClientCertPath) : undefined) ?? textIn(auth.ClientCertPath) ?? '',
    ClientKeyPath: (flat ? textIn(config.ClientKeyPath) : undefined) ?? textIn(auth.ClientKeyPath) ?? '',
  };
  // The oldest ones had options of neither engine nor Swarm, whatever stands there.
  const EngineOptions = flat ? {} : fields(options.EngineOptions);
  return {
    ...config,
    Driver: isFields(config.Driver) ? { ...config.Driver, StorePath: root } : config.Driver,
    HostOptions: { ...options, EngineOptions, AuthOptions },
  };
}

/** Where the CA lies that signed for a machine of the old tool. */
export function authorityOf(config: string, folder: string): Overrides {
  let value: unknown;
  try {
    value = JSON.parse(config);
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
  if (!isFields(value)) return {};
  const version = typeof value.ConfigVersion === 'number' ? value.ConfigVersion : 0;
  const auth = fields(fields(migrated(value, version, folder).HostOptions).AuthOptions);
  return {
    ca: textIn(auth.CaCertPath),
    caKey: textIn(auth.CaPrivateKeyPath),
    cert: textIn(auth.ClientCertPath),
    key: textIn(auth.ClientKeyPath),
  };
}

// --- machines --------------------------------------------------------------------------------------------------------

function machineOf(name: string, folder: string, driverName: string, config: Fields): Machine {
  const values = fields(config.Driver);
  const known = KNOWN[driverName];
  const isOther = known === undefined && drivers.some((driver) => driver.name === driverName);
  const driver = known?.driver ?? (isOther ? `docker-machine-driver-${driverName}` : driverName);
  const adopts = known?.adopts?.(values, name);
  const ssh = sshOf(driverName, values, folder) ?? (adopts === undefined ? undefined : asleep(values, folder));
  const resources = known?.resources?.(name, values) ?? '';
  const spec: MachineSpec = {
    id: idFrom(folder, name, driverName, resources),
    name,
    driver,
    options: known?.options(values, ssh, name) ?? {},
    engine: engineOf(fields(fields(config.HostOptions).EngineOptions), enginePort(driverName, values)),
    profiles: [],
  };
  const more = adopts === undefined ? {} : { adopts };
  if (driverName === 'none') return engineAt(spec, textIn(values.URL) ?? '');
  if (ssh === undefined) return { version: 1, phase: 'creating', spec, ...more };
  const address = textIn(values.IPAddress) ?? ssh.address;
  const endpoint = { url: `tcp://${bracketed(address)}:${spec.engine.port}`, tls: true };
  return { version: 1, phase: 'ready', spec, host: { address, ssh }, endpoint, ...more };
}

/** Of a machine that it has stopped the old tool forgets the address: what stands for it leads nowhere. */
function asleep(values: Fields, folder: string): SshTarget {
  return {
    address: 'stopped.invalid',
    port: 22,
    user: textIn(values.SSHUser) ?? 'root',
    keyFile: join(folder, 'id_rsa'),
  };
}

function engineAt(spec: MachineSpec, url: string): Machine {
  const address = /^\w+:\/\/(\[[^\]]*\]|[^:/]*)/.exec(url)?.[1]?.replace(/^\[|\]$/g, '') ?? '';
  return {
    version: 1,
    phase: 'ready',
    spec,
    host: { address: url.startsWith('unix:') ? 'localhost' : address, engine: { url } },
    endpoint: { url, tls: false },
  };
}

function sshOf(driverName: string, values: Fields, folder: string): SshTarget | undefined {
  const ip = textIn(values.IPAddress);
  if (ip === undefined) return undefined;
  const kept = textIn(values.SSHKeyPath);
  // Empty means the key that a driver made, but with `generic`: there it means the user's own.
  const keyFile = kept ?? (driverName === 'generic' ? undefined : join(folder, 'id_rsa'));
  return {
    // Its SSH server is reached at a port of this computer, its engine at its own address.
    address: driverName === 'virtualbox' ? '127.0.0.1' : ip,
    port: portIn(values.SSHPort) ?? 22,
    user: textIn(values.SSHUser) ?? 'root',
    ...(keyFile === undefined ? {} : { keyFile }),
  };
}

function enginePort(driverName: string, values: Fields): number {
  const own = { generic: values.EnginePort, azure: values.DockerPort, vmwarevcloudair: values.DockerPort }[driverName];
  return portIn(own) ?? ENGINE_PORT;
}

function engineOf(values: Fields, port: number): EngineSpec {
  const url = textIn(values.InstallURL);
  const script = url !== undefined && url !== 'https://get.docker.com' && /^(https?|file):\/\/\S+$/.test(url);
  const storageDriver = textIn(values.StorageDriver);
  return {
    ...(engineOptions.parse({}) as EngineSpec),
    port,
    ...(url === 'none' ? { source: 'none' } : script ? { source: 'url', installUrl: url } : {}),
    opt: list(values.ArbitraryFlags),
    label: list(values.Labels),
    // A view of ours has their names alone.
    env: list(values.Env).filter((pair) => pair.includes('=')),
    registryMirror: list(values.RegistryMirror),
    insecureRegistry: list(values.InsecureRegistry),
    ...(storageDriver === undefined ? {} : { storageDriver }),
  };
}

/** The same at each look, and another one for another machine that has its name one day. */
function idFrom(...parts: readonly string[]): string {
  const hex = createHash('sha256').update(parts.join('\0')).digest('hex');
  const variant = '89ab'[Number.parseInt(hex.charAt(16), 16) % 4] ?? '8';
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `5${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}

// --- drivers ---------------------------------------------------------------------------------------------------------

type Known = {
  readonly driver: string;
  readonly options: (values: Fields, ssh: SshTarget | undefined, name: string) => Fields;
  /** What of the provider's tells this machine from another of its name. */
  readonly resources?: (name: string, values: Fields) => string;
  readonly adopts?: (values: Fields, name: string) => string | undefined;
};

const KNOWN: Readonly<Record<string, Known>> = {
  generic: {
    driver: 'generic',
    options: (_values, ssh) =>
      given({ ipAddress: ssh?.address, sshUser: ssh?.user, sshPort: ssh?.port, sshKey: ssh?.keyFile }),
    resources: (_name, values) => textIn(values.IPAddress) ?? '',
  },
  none: {
    driver: 'none',
    options: ({ URL: url }) => given({ url: textIn(url) }),
    resources: (_name, values) => textIn(values.URL) ?? '',
  },
  amazonec2: {
    driver: 'ec2',
    options: ec2Options,
    resources: (_name, { InstanceId }) => textIn(InstanceId) ?? '',
    adopts: ec2Instance,
  },
  google: {
    driver: 'gce',
    options: gceOptions,
    resources: (name, values) => `${textIn(values.Project) ?? ''}/${gceInstance(values, name) ?? ''}`,
    adopts: (values, name) => (values.UseExisting === true ? undefined : gceInstance(values, name)),
  },
};

/** The instance, and behind a slash the key pair that was imported for it alone. */
function ec2Instance({ InstanceId, ExistingKey, KeyName }: Fields): string | undefined {
  const [instance, key] = [textIn(InstanceId), textIn(KeyName)];
  if (instance === undefined) return undefined;
  return ExistingKey === true || key === undefined ? instance : `${instance}/${key}`;
}

function ec2Options(values: Fields, ssh: SshTarget | undefined, name: string): Fields {
  const region = textIn(values.Region);
  const zone = textIn(values.Zone);
  const price = textIn(values.SpotPrice);
  const volumeType = textIn(values.VolumeType);
  return given({
    region,
    zone: zone !== undefined && zone.length === 1 && region !== undefined ? `${region}${zone}` : zone,
    vpc: textIn(values.VpcId),
    subnet: textIn(values.SubnetId),
    instanceType: textIn(values.InstanceType),
    ami: textIn(values.AMI),
    sshUser: textIn(values.SSHUser),
    sshPort: ssh?.port,
    keypairName: textIn(values.KeyName) ?? (ssh ? name : undefined),
    sshKey: ssh?.keyFile,
    openPort: list(values.OpenPorts),
    securityGroup: list(values.SecurityGroupNames),
    // Its groups are those of the old tool, which lets it in.
    securityGroupReadonly: true,
    rootSize: number(values.RootSize),
    ...(volumeType?.startsWith('io') === true ? {} : { volumeType }),
    deviceName: textIn(values.DeviceName),
    iamInstanceProfile: textIn(values.IamInstanceProfile),
    tags: tagsIn(textIn(values.Tags)),
    privateAddressOnly: values.PrivateIPOnly === true,
    usePrivateAddress: values.UsePrivateIP === true,
    spot: values.RequestSpotInstance === true,
    ...(values.RequestSpotInstance === true ? { spotPrice: price } : {}),
    ebsOptimized: values.UseEbsOptimizedInstance === true,
    monitoring: values.Monitoring === true,
    endpoint: textIn(values.Endpoint),
    insecureTransport: values.DisableSSL === true,
  });
}

/** `key1,value1,key2,value2` */
function tagsIn(text: string | undefined): readonly string[] {
  const words = text?.split(',') ?? [];
  return words.flatMap((key, at) => (at % 2 === 0 && words[at + 1] !== undefined ? [`${key}=${words[at + 1]}`] : []));
}

function gceInstance({ Zone }: Fields, name: string): string | undefined {
  const zone = textIn(Zone);
  return zone === undefined ? undefined : `${zone}/${name}`;
}

function gceOptions(values: Fields, ssh: SshTarget | undefined, name: string): Fields {
  const [project, zone] = [textIn(values.Project), textIn(values.Zone)];
  const image = textIn(values.MachineImage);
  return given({
    project,
    zone,
    machineType: textIn(values.MachineType),
    machineImage: image,
    diskSize: number(values.DiskSize),
    diskType: textIn(values.DiskType),
    address: textIn(values.Address),
    network: textIn(values.Network),
    subnetwork: textIn(values.Subnetwork),
    preemptible: values.Preemptible === true,
    useInternalIp: values.UseInternalIP === true,
    useInternalIpOnly: values.UseInternalIPOnly === true,
    serviceAccount: textIn(values.ServiceAccount),
    scopes: textIn(values.Scopes)?.split(',') ?? [],
    tags: textIn(values.Tags)?.split(',') ?? [],
    useExisting: values.UseExisting === true,
    openPort: list(values.OpenPorts),
    sshUser: textIn(values.SSHUser),
    sshKey: ssh?.keyFile,
    ...(project === undefined || zone === undefined
      ? {}
      : { instanceLink: `projects/${project}/zones/${zone}/instances/${name}` }),
  });
}

// --- views of ours ---------------------------------------------------------------------------------------------------

function markIn(config: Fields): Mark | undefined {
  const { Id, Host: host, Endpoint: endpoint } = fields(config[MARK]);
  if (typeof Id !== 'string') return undefined;
  return { Id, ...(isHost(host) ? { Host: host } : {}), ...(isEndpoint(endpoint) ? { Endpoint: endpoint } : {}) };
}

function isHost(value: unknown): value is Host {
  if (!isFields(value) || typeof value.address !== 'string') return false;
  const { ssh, engine } = value;
  if (isFields(ssh))
    return typeof ssh.address === 'string' && portIn(ssh.port) !== undefined && typeof ssh.user === 'string';
  return isFields(engine) && typeof engine.url === 'string';
}

function isEndpoint(value: unknown): value is NonNullable<Machine['endpoint']> {
  return isFields(value) && typeof value.url === 'string' && typeof value.tls === 'boolean';
}

function ofSlipway(name: string, driverName: string, config: Fields, mark: Mark): Machine {
  const values = fields(config.Driver);
  const known = KNOWN[driverName];
  const { Id: id, Host: host, Endpoint: endpoint } = mark;
  const driver = known?.driver ?? driverName;
  const spec: MachineSpec = {
    id,
    name,
    driver,
    options: known?.options(values, host?.ssh, name) ?? ownOptions(driver, values),
    engine: engineOf(fields(fields(config.HostOptions).EngineOptions), enginePort(driverName, values)),
    profiles: [],
  };
  const machine: Machine =
    host && endpoint
      ? { version: 1, phase: 'ready', spec, host, endpoint }
      : host
        ? { version: 1, phase: 'created', spec, host }
        : { version: 1, phase: 'creating', spec };
  const foreign: Foreign = { ...machine, ofSlipway: true };
  return foreign;
}

/** Options of a driver that the old tool never had. */
function ownOptions(driver: string, values: Fields): Fields {
  const shape = drivers.find(({ name }) => name === driver)?.options.shape ?? {};
  const pairs = Object.keys(shape).map((key) => [key, values[key.charAt(0).toUpperCase() + key.slice(1)]] as const);
  return given(Object.fromEntries(pairs));
}

// --- what is in a file -----------------------------------------------------------------------------------------------

/** What our own driver would refuse, in its words. An engine's URL is whatever somebody gave. */
function optionsProblem({ driver: name, options }: MachineSpec): string | undefined {
  const driver = drivers.find((candidate) => candidate.name === name);
  if (!driver || name === 'none' || Object.keys(options).length === 0) return undefined;
  const result = driver.options.safeParse(options);
  if (result.success) return undefined;
  const [issue] = result.error.issues;
  return `${issue?.path.join('.') ?? 'an option'} of its driver can't be used: ${issue?.message ?? ''}`;
}

/** Names are looked up, and shown; what every object has is no driver. */
function isDriverName(name: string): boolean {
  return /^[a-z0-9][a-z0-9._-]*$/i.test(name) && !(name in {});
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fields(value: unknown): Fields {
  return isFields(value) ? value : {};
}

function given(values: Fields): Fields {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function textIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}

function portIn(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536 ? value : undefined;
}

function list(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

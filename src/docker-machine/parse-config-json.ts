/** Machines of the old tool, as its config.json tells of them. Nothing secret is read from there but the engine's own variables. */
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { drivers } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import type { EngineSpec, Host, Machine, MachineSpec, SshTarget } from '../machine/model.ts';
import { MARK_KEY, type SlipwayMark, type AuthorityOverrides } from '../profiles/docker-machine.ts';
import { engineOptions } from '../machine/spec.ts';
import type { ConfigJsonMachine } from './managed-by-slipway.ts';

const NEWEST_CONFIG_VERSION = 3;
const DEFAULT_ENGINE_PORT = 2376;

type ConfigFields = Readonly<Record<string, unknown>>;

/** Undefined where there is no config.json. RECORD_BROKEN where it can't be used. */
export function parseConfigJsonMachine(name: string, folder: string, text: string | undefined): Machine | undefined {
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
  if (!isConfigFields(value)) throw broken('it is not a record');
  const version = value.ConfigVersion ?? 0;
  if (typeof version !== 'number') throw broken('its ConfigVersion is no number');
  if (version > NEWEST_CONFIG_VERSION) {
    throw new SlipwayError(
      'RECORD_BROKEN',
      'config version is from the future -- you should upgrade your Docker Machine client',
      { hint: `${path} is of version ${version}` },
    );
  }
  const config = migrateToVersion3(value, version, folder);
  const driverName = nonEmptyString(config.DriverName);
  if (driverName === undefined || !isDriverName(driverName) || !isConfigFields(config.Driver))
    throw broken('it names no driver');
  const mark = parseMark(config);
  const made = mark ? toSlipwayMachine(name, driverName, config, mark) : toMachine(name, folder, driverName, config);
  const problem = describeInvalidOptions(made.spec);
  if (problem !== undefined) throw broken(problem);
  return made;
}

// --- versions --------------------------------------------------------------------------------------------------------

/** As the old tool brings older ones to version 3 when it reads them, as far as we read it; the file stays as it is. */
function migrateToVersion3(config: ConfigFields, version: number, folder: string): ConfigFields {
  const root = dirname(dirname(folder));
  if (version >= NEWEST_CONFIG_VERSION) return config;
  const options = fieldsOrEmpty(config.HostOptions);
  const auth = fieldsOrEmpty(options.AuthOptions);
  const flat = version === 0;
  const AuthOptions = {
    ...auth,
    CertDir: nonEmptyString(auth.CertDir) ?? join(root, 'certs'),
    CaCertPath: (flat ? nonEmptyString(config.CaCertPath) : undefined) ?? nonEmptyString(auth.CaCertPath) ?? '',
    CaPrivateKeyPath:
      (flat ? nonEmptyString(config.PrivateKeyPath) : undefined) ??
      nonEmptyString(auth.CaPrivateKeyPath) ??
      nonEmptyString(auth.PrivateKeyPath) ??
      '',
    ClientCertPath:
      (flat ? nonEmptyString(config.ClientCertPath) : undefined) ?? nonEmptyString(auth.ClientCertPath) ?? '',
    ClientKeyPath:
      (flat ? nonEmptyString(config.ClientKeyPath) : undefined) ?? nonEmptyString(auth.ClientKeyPath) ?? '',
  };
  // The oldest ones had options of neither engine nor Swarm, whatever stands there.
  const EngineOptions = flat ? {} : fieldsOrEmpty(options.EngineOptions);
  return {
    ...config,
    Driver: isConfigFields(config.Driver) ? { ...config.Driver, StorePath: root } : config.Driver,
    HostOptions: { ...options, EngineOptions, AuthOptions },
  };
}

/** Where the CA lies that signed for a machine of the old tool. */
export function parseAuthorityPaths(config: string, folder: string): AuthorityOverrides {
  let value: unknown;
  try {
    value = JSON.parse(config);
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
  if (!isConfigFields(value)) return {};
  const version = typeof value.ConfigVersion === 'number' ? value.ConfigVersion : 0;
  const auth = fieldsOrEmpty(fieldsOrEmpty(migrateToVersion3(value, version, folder).HostOptions).AuthOptions);
  return {
    ca: nonEmptyString(auth.CaCertPath),
    caKey: nonEmptyString(auth.CaPrivateKeyPath),
    cert: nonEmptyString(auth.ClientCertPath),
    key: nonEmptyString(auth.ClientKeyPath),
  };
}

// --- machines --------------------------------------------------------------------------------------------------------

function toMachine(name: string, folder: string, driverName: string, config: ConfigFields): Machine {
  const values = fieldsOrEmpty(config.Driver);
  const known = DRIVER_MAPPINGS[driverName];
  const isOther = known === undefined && drivers.some((driver) => driver.name === driverName);
  const driver = known?.driver ?? (isOther ? `docker-machine-driver-${driverName}` : driverName);
  const adopts = known?.adoptedResource?.(values, name);
  const ssh =
    sshTargetOf(driverName, values, folder) ?? (adopts === undefined ? undefined : stoppedSshTarget(values, folder));
  const resources = known?.resourceIdentity?.(name, values) ?? '';
  const spec: MachineSpec = {
    id: deriveId(folder, name, driverName, resources),
    name,
    driver,
    options: known?.options(values, ssh, name) ?? {},
    engine: engineSpecOf(
      fieldsOrEmpty(fieldsOrEmpty(config.HostOptions).EngineOptions),
      enginePortOf(driverName, values),
    ),
    profiles: [],
  };
  const more = adopts === undefined ? {} : { adopts };
  if (driverName === 'none') return engineOnlyMachine(spec, nonEmptyString(values.URL) ?? '');
  if (ssh === undefined) return { version: 1, phase: 'creating', spec, ...more };
  const address = nonEmptyString(values.IPAddress) ?? ssh.address;
  const endpoint = { url: `tcp://${bracketIpv6(address)}:${spec.engine.port}`, tls: true };
  return { version: 1, phase: 'ready', spec, host: { address, ssh }, endpoint, ...more };
}

/** Of a machine that it has stopped the old tool forgets the address: what stands for it leads nowhere. */
function stoppedSshTarget(values: ConfigFields, folder: string): SshTarget {
  return {
    address: 'stopped.invalid',
    port: 22,
    user: nonEmptyString(values.SSHUser) ?? 'root',
    keyFile: join(folder, 'id_rsa'),
  };
}

function engineOnlyMachine(spec: MachineSpec, url: string): Machine {
  const address = /^\w+:\/\/(\[[^\]]*\]|[^:/]*)/.exec(url)?.[1]?.replace(/^\[|\]$/g, '') ?? '';
  return {
    version: 1,
    phase: 'ready',
    spec,
    host: { address: url.startsWith('unix:') ? 'localhost' : address, engine: { url } },
    endpoint: { url, tls: false },
  };
}

function sshTargetOf(driverName: string, values: ConfigFields, folder: string): SshTarget | undefined {
  const ip = nonEmptyString(values.IPAddress);
  if (ip === undefined) return undefined;
  const kept = nonEmptyString(values.SSHKeyPath);
  // Empty means the key that a driver made, but with `generic`: there it means the user's own.
  const keyFile = kept ?? (driverName === 'generic' ? undefined : join(folder, 'id_rsa'));
  return {
    // Its SSH server is reached at a port of this computer, its engine at its own address.
    address: driverName === 'virtualbox' ? '127.0.0.1' : ip,
    port: validPort(values.SSHPort) ?? 22,
    user: nonEmptyString(values.SSHUser) ?? 'root',
    ...(keyFile === undefined ? {} : { keyFile }),
  };
}

function enginePortOf(driverName: string, values: ConfigFields): number {
  const own = { generic: values.EnginePort, azure: values.DockerPort, vmwarevcloudair: values.DockerPort }[driverName];
  return validPort(own) ?? DEFAULT_ENGINE_PORT;
}

function engineSpecOf(values: ConfigFields, port: number): EngineSpec {
  const url = nonEmptyString(values.InstallURL);
  const script = url !== undefined && url !== 'https://get.docker.com' && /^(https?|file):\/\/\S+$/.test(url);
  const storageDriver = nonEmptyString(values.StorageDriver);
  return {
    ...(engineOptions.parse({}) as EngineSpec),
    port,
    ...(url === 'none' ? { source: 'none' } : script ? { source: 'url', installUrl: url } : {}),
    opt: stringList(values.ArbitraryFlags),
    label: stringList(values.Labels),
    // A view of ours has their names alone.
    env: stringList(values.Env).filter((pair) => pair.includes('=')),
    registryMirror: stringList(values.RegistryMirror),
    insecureRegistry: stringList(values.InsecureRegistry),
    ...(storageDriver === undefined ? {} : { storageDriver }),
  };
}

/** The same at each look, and another one for another machine that has its name one day. */
function deriveId(...parts: readonly string[]): string {
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

type DriverMapping = {
  readonly driver: string;
  readonly options: (values: ConfigFields, ssh: SshTarget | undefined, name: string) => ConfigFields;
  /** What of the provider's tells this machine from another of its name. */
  readonly resourceIdentity?: (name: string, values: ConfigFields) => string;
  readonly adoptedResource?: (values: ConfigFields, name: string) => string | undefined;
};

const DRIVER_MAPPINGS: Readonly<Record<string, DriverMapping>> = {
  generic: {
    driver: 'generic',
    options: (_values, ssh) =>
      withoutUndefined({ ipAddress: ssh?.address, sshUser: ssh?.user, sshPort: ssh?.port, sshKey: ssh?.keyFile }),
    resourceIdentity: (_name, values) => nonEmptyString(values.IPAddress) ?? '',
  },
  none: {
    driver: 'none',
    options: ({ URL: url }) => withoutUndefined({ url: nonEmptyString(url) }),
    resourceIdentity: (_name, values) => nonEmptyString(values.URL) ?? '',
  },
  amazonec2: {
    driver: 'ec2',
    options: toEc2Options,
    resourceIdentity: (_name, { InstanceId }) => nonEmptyString(InstanceId) ?? '',
    adoptedResource: ec2InstanceAndKey,
  },
  google: {
    driver: 'gce',
    options: toGceOptions,
    resourceIdentity: (name, values) =>
      `${nonEmptyString(values.Project) ?? ''}/${gceInstancePath(values, name) ?? ''}`,
    adoptedResource: (values, name) => (values.UseExisting === true ? undefined : gceInstancePath(values, name)),
  },
};

/** The instance, and behind a slash the key pair that was imported for it alone. */
function ec2InstanceAndKey({ InstanceId, ExistingKey, KeyName }: ConfigFields): string | undefined {
  const [instance, key] = [nonEmptyString(InstanceId), nonEmptyString(KeyName)];
  if (instance === undefined) return undefined;
  return ExistingKey === true || key === undefined ? instance : `${instance}/${key}`;
}

function toEc2Options(values: ConfigFields, ssh: SshTarget | undefined, name: string): ConfigFields {
  const region = nonEmptyString(values.Region);
  const zone = nonEmptyString(values.Zone);
  const price = nonEmptyString(values.SpotPrice);
  const volumeType = nonEmptyString(values.VolumeType);
  return withoutUndefined({
    region,
    zone: zone !== undefined && zone.length === 1 && region !== undefined ? `${region}${zone}` : zone,
    vpc: nonEmptyString(values.VpcId),
    subnet: nonEmptyString(values.SubnetId),
    instanceType: nonEmptyString(values.InstanceType),
    ami: nonEmptyString(values.AMI),
    sshUser: nonEmptyString(values.SSHUser),
    sshPort: ssh?.port,
    keypairName: nonEmptyString(values.KeyName) ?? (ssh ? name : undefined),
    sshKey: ssh?.keyFile,
    openPort: stringList(values.OpenPorts),
    securityGroup: stringList(values.SecurityGroupNames),
    // Its groups are those of the old tool, which lets it in.
    securityGroupReadonly: true,
    rootSize: positiveNumber(values.RootSize),
    ...(volumeType?.startsWith('io') === true ? {} : { volumeType }),
    deviceName: nonEmptyString(values.DeviceName),
    iamInstanceProfile: nonEmptyString(values.IamInstanceProfile),
    tags: parseEc2Tags(nonEmptyString(values.Tags)),
    privateAddressOnly: values.PrivateIPOnly === true,
    usePrivateAddress: values.UsePrivateIP === true,
    spot: values.RequestSpotInstance === true,
    ...(values.RequestSpotInstance === true ? { spotPrice: price } : {}),
    ebsOptimized: values.UseEbsOptimizedInstance === true,
    monitoring: values.Monitoring === true,
    endpoint: nonEmptyString(values.Endpoint),
    insecureTransport: values.DisableSSL === true,
  });
}

/** `key1,value1,key2,value2` */
function parseEc2Tags(text: string | undefined): readonly string[] {
  const words = text?.split(',') ?? [];
  return words.flatMap((key, at) => (at % 2 === 0 && words[at + 1] !== undefined ? [`${key}=${words[at + 1]}`] : []));
}

function gceInstancePath({ Zone }: ConfigFields, name: string): string | undefined {
  const zone = nonEmptyString(Zone);
  return zone === undefined ? undefined : `${zone}/${name}`;
}

function toGceOptions(values: ConfigFields, ssh: SshTarget | undefined, name: string): ConfigFields {
  const [project, zone] = [nonEmptyString(values.Project), nonEmptyString(values.Zone)];
  const image = nonEmptyString(values.MachineImage);
  return withoutUndefined({
    project,
    zone,
    machineType: nonEmptyString(values.MachineType),
    machineImage: image,
    diskSize: positiveNumber(values.DiskSize),
    diskType: nonEmptyString(values.DiskType),
    address: nonEmptyString(values.Address),
    network: nonEmptyString(values.Network),
    subnetwork: nonEmptyString(values.Subnetwork),
    preemptible: values.Preemptible === true,
    useInternalIp: values.UseInternalIP === true,
    useInternalIpOnly: values.UseInternalIPOnly === true,
    serviceAccount: nonEmptyString(values.ServiceAccount),
    scopes: nonEmptyString(values.Scopes)?.split(',') ?? [],
    tags: nonEmptyString(values.Tags)?.split(',') ?? [],
    useExisting: values.UseExisting === true,
    openPort: stringList(values.OpenPorts),
    sshUser: nonEmptyString(values.SSHUser),
    sshKey: ssh?.keyFile,
    ...(project === undefined || zone === undefined
      ? {}
      : { instanceLink: `projects/${project}/zones/${zone}/instances/${name}` }),
  });
}

// --- views of ours ---------------------------------------------------------------------------------------------------

function parseMark(config: ConfigFields): SlipwayMark | undefined {
  const { Id, Host: host, Endpoint: endpoint } = fieldsOrEmpty(config[MARK_KEY]);
  if (typeof Id !== 'string') return undefined;
  return { Id, ...(isHost(host) ? { Host: host } : {}), ...(isEndpoint(endpoint) ? { Endpoint: endpoint } : {}) };
}

function isHost(value: unknown): value is Host {
  if (!isConfigFields(value) || typeof value.address !== 'string') return false;
  const { ssh, engine } = value;
  if (isConfigFields(ssh))
    return typeof ssh.address === 'string' && validPort(ssh.port) !== undefined && typeof ssh.user === 'string';
  return isConfigFields(engine) && typeof engine.url === 'string';
}

function isEndpoint(value: unknown): value is NonNullable<Machine['endpoint']> {
  return isConfigFields(value) && typeof value.url === 'string' && typeof value.tls === 'boolean';
}

function toSlipwayMachine(name: string, driverName: string, config: ConfigFields, mark: SlipwayMark): Machine {
  const values = fieldsOrEmpty(config.Driver);
  const known = DRIVER_MAPPINGS[driverName];
  const { Id: id, Host: host, Endpoint: endpoint } = mark;
  const driver = known?.driver ?? driverName;
  const spec: MachineSpec = {
    id,
    name,
    driver,
    options: known?.options(values, host?.ssh, name) ?? slipwayDriverOptions(driver, values),
    engine: engineSpecOf(
      fieldsOrEmpty(fieldsOrEmpty(config.HostOptions).EngineOptions),
      enginePortOf(driverName, values),
    ),
    profiles: [],
  };
  const machine: Machine =
    host && endpoint
      ? { version: 1, phase: 'ready', spec, host, endpoint }
      : host
        ? { version: 1, phase: 'created', spec, host }
        : { version: 1, phase: 'creating', spec };
  const foreign: ConfigJsonMachine = { ...machine, managedBySlipway: true };
  return foreign;
}

/** Options of a driver that the old tool never had. */
function slipwayDriverOptions(driver: string, values: ConfigFields): ConfigFields {
  const shape = drivers.find(({ name }) => name === driver)?.options.shape ?? {};
  const pairs = Object.keys(shape).map((key) => [key, values[key.charAt(0).toUpperCase() + key.slice(1)]] as const);
  return withoutUndefined(Object.fromEntries(pairs));
}

// --- what is in a file -----------------------------------------------------------------------------------------------

/** What our own driver would refuse, in its words. An engine's URL is whatever somebody gave. */
function describeInvalidOptions({ driver: name, options }: MachineSpec): string | undefined {
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

function isConfigFields(value: unknown): value is ConfigFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fieldsOrEmpty(value: unknown): ConfigFields {
  return isConfigFields(value) ? value : {};
}

function withoutUndefined(values: ConfigFields): ConfigFields {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function nonEmptyString(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function positiveNumber(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}

function validPort(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536 ? value : undefined;
}

function stringList(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function bracketIpv6(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

import { join } from 'node:path';
import { listFolderIfExists, readFileIfExists, type FileChange } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { EngineSpec, Machine } from '../machine/model.ts';
import type { ClientPaths, Profile } from './profile.ts';

/** Files of the authority that signs for a machine, as its view names them. */
export type AuthorityPaths = {
  readonly ca: string;
  readonly caKey: string;
  readonly cert: string;
  readonly key: string;
};

/** Those that stand in place of the store's own, as far as they are named. */
export type AuthorityOverrides = { readonly [Which in keyof AuthorityPaths]?: AuthorityPaths[Which] | undefined };

export type ConfigJsonInput = {
  /** The old tool's store: `~/.docker/machine`. */
  readonly root: string;
  /** The config.json that is there, parsed: what it says beside what we know stays. */
  readonly existing?: unknown;
  /** HostOptions.SwarmOptions, where they are given anew. */
  readonly swarm?: Readonly<Record<string, unknown>>;
  readonly authority?: AuthorityOverrides;
};

type ConfigJsonFields = Readonly<Record<string, unknown>>;

/** What the old tool calls drivers of ours. */
export const dockerMachineDriverNames: Readonly<Record<string, string>> = { ec2: 'amazonec2', gce: 'google' };

/** The name that the member of a view carries by which it is known as ours; the old tool drops it when it writes the file itself. */
export const MARK_KEY = 'Slipway';

/** A machine that others may come to know by its view. `Host` and `Endpoint` are as in our record, in which nothing is secret. */
export type SlipwayMark = {
  readonly Id: string;
  readonly Host?: Machine['host'];
  readonly Endpoint?: Machine['endpoint'];
};

const INSTALL_URL = 'https://get.docker.com';

/**
 * A machine as the old tool's config.json has it, version 3. Nothing secret is in it: keys of clouds are empty, and the engine's
 * variables stand there by their names.
 */
export function formatConfigJson(machine: Machine, view: ConfigJsonInput): string {
  const { spec, host, endpoint } = machine;
  const before = toFields(view.existing);
  const {
    ConfigVersion: _v,
    Driver: _d,
    DriverName: _n,
    HostOptions: _h,
    Name: _m,
    [MARK_KEY]: _mark,
    ...others
  } = before;
  const mark: SlipwayMark = {
    Id: spec.id,
    ...(host ? { Host: host } : {}),
    ...(endpoint ? { Endpoint: endpoint } : {}),
  };
  const config = {
    ConfigVersion: 3,
    Driver: driverFields(machine, view, toFields(before.Driver)),
    DriverName: dockerMachineDriverNames[spec.driver] ?? spec.driver.replace(/^docker-machine-driver-/, ''),
    HostOptions: hostOptions(machine, view, toFields(before.HostOptions)),
    Name: spec.name,
    ...others,
    [MARK_KEY]: mark,
  };
  return JSON.stringify(config, null, 4);
}

function toFields(value: unknown): ConfigJsonFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as ConfigJsonFields) : {};
}

// --- what the driver knows -------------------------------------------------------------------------------------------

function driverFields(machine: Machine, view: ConfigJsonInput, before: ConfigJsonFields): ConfigJsonFields {
  const own = FIELDS_BY_DRIVER[machine.spec.driver] ?? otherDriverFields;
  const known = { ...baseFields(machine, view, before), ...own(machine, before) };
  return { ...known, ...unknownFields(before, known) };
}

/** Members that are not ours to say, behind those that are. */
function unknownFields(before: ConfigJsonFields, known: ConfigJsonFields): ConfigJsonFields {
  return Object.fromEntries(Object.entries(before).filter(([key]) => !(key in known)));
}

function baseFields(
  { spec, host }: Machine,
  { root, swarm }: ConfigJsonInput,
  before: ConfigJsonFields,
): ConfigJsonFields {
  const { ssh } = host ?? {};
  const { options } = spec;
  const wanted = swarm ?? {};
  return {
    IPAddress: ipAddress(spec.driver, options, host?.address, before),
    MachineName: spec.name,
    SSHUser: ssh?.user ?? asString(options.sshUser) ?? asString(before.SSHUser) ?? '',
    SSHPort: ssh?.port ?? asNumber(options.sshPort) ?? asNumber(before.SSHPort) ?? 0,
    SSHKeyPath: ssh?.keyFile ?? asString(options.sshKey) ?? asString(before.SSHKeyPath) ?? '',
    StorePath: root,
    SwarmMaster: wanted.Master ?? before.SwarmMaster ?? false,
    SwarmHost: wanted.Host ?? before.SwarmHost ?? '',
    SwarmDiscovery: wanted.Discovery ?? before.SwarmDiscovery ?? '',
  };
}

/** Of an engine that is known by its URL alone, the old tool takes the host with its port. */
function ipAddress(
  driver: string,
  options: ConfigJsonFields,
  address: string | undefined,
  before: ConfigJsonFields,
): string {
  if (driver === 'none') return /^\w+:\/\/([^/]*)/.exec(asString(options.url) ?? '')?.[1] ?? '';
  return address ?? asString(options.ipAddress) ?? asString(before.IPAddress) ?? '';
}

type DriverFieldMapper = (machine: Machine, before: ConfigJsonFields) => ConfigJsonFields;

const genericFields: DriverFieldMapper = ({ spec: { options, engine }, host }) => ({
  EnginePort: engine.port,
  SSHKey: asString(options.sshKey) ?? host?.ssh?.keyFile ?? '',
});

const noneFields: DriverFieldMapper = ({ spec: { options } }) => ({ URL: asString(options.url) ?? '' });

const amazonec2Fields: DriverFieldMapper = ({ spec: { options }, host, adopts }, before) => ({
  Id: '',
  AccessKey: '',
  SecretKey: '',
  SessionToken: '',
  Region: asString(options.region) ?? '',
  AMI: asString(options.ami) ?? '',
  SSHKeyID: 0,
  ExistingKey: before.ExistingKey ?? options.keypairName !== undefined,
  KeyName: asString(options.keypairName) ?? asString(before.KeyName) ?? '',
  InstanceId: adopts?.split('/')[0] ?? asString(before.InstanceId) ?? '',
  InstanceType: asString(options.instanceType) ?? '',
  PrivateIPAddress:
    options.privateAddressOnly === true || options.usePrivateAddress === true
      ? (host?.address ?? '')
      : (asString(before.PrivateIPAddress) ?? ''),
  SecurityGroupId: before.SecurityGroupId ?? '',
  SecurityGroupIds: before.SecurityGroupIds ?? null,
  SecurityGroupName: before.SecurityGroupName ?? '',
  SecurityGroupNames: asStringList(options.securityGroup),
  SecurityGroupReadOnly: options.securityGroupReadonly === true,
  OpenPorts: asStringList(options.openPort),
  Tags: asStringList(options.tags)
    .flatMap((tag) => tag.split(/[=,]/))
    .join(','),
  ReservationId: before.ReservationId ?? '',
  DeviceName: asString(options.deviceName) ?? '',
  RootSize: asNumber(options.rootSize) ?? 0,
  VolumeType: asString(options.volumeType) ?? '',
  IamInstanceProfile: asString(options.iamInstanceProfile) ?? '',
  VpcId: asString(options.vpc) ?? '',
  SubnetId: asString(options.subnet) ?? '',
  Zone: (asString(options.zone) ?? '').slice(-1),
  RequestSpotInstance: options.spot === true,
  SpotPrice: asString(options.spotPrice) ?? '',
  BlockDurationMinutes: asNumber(options.blockDurationMinutes) ?? 0,
  PrivateIPOnly: options.privateAddressOnly === true,
  UsePrivateIP: options.usePrivateAddress === true,
  UseEbsOptimizedInstance: options.ebsOptimized === true,
  Monitoring: options.monitoring === true,
  SSHPrivateKeyPath: asString(options.sshKey) ?? '',
  RetryCount: asNumber(options.retries) ?? 5,
  Endpoint: asString(options.endpoint) ?? '',
  DisableSSL: options.insecureTransport === true,
  UserDataFile: asString(options.userData) ?? '',
});

const googleFields: DriverFieldMapper = ({ spec: { options } }) => ({
  Zone: asString(options.zone) ?? '',
  MachineType: asString(options.machineType) ?? '',
  MachineImage: asString(options.machineImage) ?? asString(options.imageLink)?.replace(/^projects\//, '') ?? '',
  DiskType: asString(options.diskType) ?? '',
  Address: asString(options.address) ?? '',
  Network: asString(options.network) ?? '',
  Subnetwork: asString(options.subnetwork) ?? '',
  Preemptible: options.preemptible === true || options.spot === true,
  UseInternalIP: options.useInternalIp === true || options.useInternalIpOnly === true,
  UseInternalIPOnly: options.useInternalIpOnly === true,
  ServiceAccount: asString(options.serviceAccount) ?? '',
  Scopes: asStringList(options.scopes).join(','),
  DiskSize: asNumber(options.diskSize) ?? 0,
  Project: asString(options.project) ?? '',
  Tags: asStringList(options.tags).join(','),
  UseExisting: options.useExisting === true,
  OpenPorts: asStringList(options.openPort),
});

/** A driver that the old tool never had: its options, in the old tool's manner of writing. */
const otherDriverFields: DriverFieldMapper = ({ spec: { options } }) =>
  Object.fromEntries(
    Object.entries(options).map(([key, value]) => [key.charAt(0).toUpperCase() + key.slice(1), value]),
  );

const FIELDS_BY_DRIVER: Readonly<Record<string, DriverFieldMapper>> = {
  generic: genericFields,
  none: noneFields,
  ec2: amazonec2Fields,
  gce: googleFields,
};

function asString(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function asNumber(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

function asStringList(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

// --- what is the host's ----------------------------------------------------------------------------------------------

function hostOptions({ spec }: Machine, view: ConfigJsonInput, before: ConfigJsonFields): ConfigJsonFields {
  return {
    Driver: '',
    Memory: 0,
    Disk: 0,
    ...before,
    EngineOptions: engineOptions(spec.engine, toFields(before.EngineOptions)),
    SwarmOptions: view.swarm ?? before.SwarmOptions ?? NO_SWARM,
    AuthOptions: authOptions(spec.name, spec.engine, view, toFields(before.AuthOptions)),
  };
}

function engineOptions(engine: EngineSpec, before: ConfigJsonFields): ConfigJsonFields {
  const { source, installUrl } = engine;
  const known = {
    ArbitraryFlags: engine.opt,
    Dns: before.Dns ?? null,
    GraphDir: before.GraphDir ?? '',
    // A proxy's address may hold a password.
    Env: engine.env.map((pair) => pair.split('=', 1)[0]),
    Ipv6: before.Ipv6 ?? false,
    InsecureRegistry: engine.insecureRegistry,
    Labels: engine.label,
    LogLevel: before.LogLevel ?? '',
    StorageDriver: engine.storageDriver ?? '',
    SelinuxEnabled: before.SelinuxEnabled ?? false,
    TlsVerify: true,
    RegistryMirror: engine.registryMirror,
    InstallURL: source === 'none' ? 'none' : (installUrl ?? INSTALL_URL),
  };
  return { ...known, ...unknownFields(before, known) };
}

const NO_SWARM: ConfigJsonFields = {
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
};

/** An authority that a machine was given stays its own, until it is given another. */
function authOptions(
  name: string,
  { tlsSan }: EngineSpec,
  { root, authority = {} }: ConfigJsonInput,
  before: ConfigJsonFields,
): ConfigJsonFields {
  const certs = join(root, 'certs');
  const folder = join(root, 'machines', name);
  return {
    CertDir: asString(before.CertDir) ?? certs,
    CaCertPath: authority.ca ?? asString(before.CaCertPath) ?? join(certs, 'ca.pem'),
    CaPrivateKeyPath: authority.caKey ?? asString(before.CaPrivateKeyPath) ?? join(certs, 'ca-key.pem'),
    CaCertRemotePath: '',
    ServerCertPath: join(folder, 'server.pem'),
    ServerKeyPath: join(folder, 'server-key.pem'),
    ClientKeyPath: authority.key ?? asString(before.ClientKeyPath) ?? join(certs, 'key.pem'),
    ServerCertRemotePath: '',
    ServerKeyRemotePath: '',
    ClientCertPath: authority.cert ?? asString(before.ClientCertPath) ?? join(certs, 'cert.pem'),
    ServerCertSANs: tlsSan,
    StorePath: folder,
  };
}

// --- the profile -----------------------------------------------------------------------------------------------------

/** A machine of ours in the old tool's store, for what reads that. */
export const dockerMachineProfile: Profile = {
  name: 'docker-machine',
  summary: 'a machine in the store of the old docker-machine, for what reads that',
  async findConflict(name, id, places) {
    const { folder, config, record } = machineFilesOf(name, places);
    const [text, theirs, others] = await Promise.all([
      readFileIfExists(config),
      readFileIfExists(record),
      listFolderIfExists(folder),
    ]);
    if (theirs === undefined && (text === undefined ? others.length === 0 : parseOwner(text) === id)) return undefined;
    return new SlipwayError(
      'CONTEXT_TAKEN',
      `There is a machine named "${name}" already in the old tool's store (${folder})`,
      {
        hint: 'Choose another machine name, or leave the profile docker-machine out',
      },
    );
  },
  changesToAdd({ machine, tls, clientPaths }) {
    const { folder, config } = machineFilesOf(machine.spec.name, clientPaths);
    const certificates = Object.entries(tls ?? {}).map(([file, content]): FileChange => ({
      do: 'write',
      path: join(folder, `${file}.pem`),
      content,
      mode: 0o600,
    }));
    const [ca, cert, key] = ['ca', 'cert', 'key'].map((file) => join(folder, `${file}.pem`));
    // Its authority is its own, and the key of that stays in Slipway's store.
    const authority = { ca, cert, key, caKey: '' };
    const view = formatConfigJson(machine, { root: clientPaths.dockerMachine, authority });
    // First, since it says whose the folder is.
    return [{ do: 'write', path: config, content: view, mode: 0o600 }, ...certificates];
  },
  changesToRemove(name, places) {
    const { folder, config } = machineFilesOf(name, places);
    const files = [...['ca', 'cert', 'key'].map((file) => join(folder, `${file}.pem`)), config];
    return [...files.map((path): FileChange => ({ do: 'delete', path })), { do: 'prune', path: folder }];
  },
};

function machineFilesOf(
  name: string,
  { dockerMachine: root }: ClientPaths,
): { readonly folder: string; readonly config: string; readonly record: string } {
  const folder = join(root, 'machines', name);
  return { folder, config: join(folder, 'config.json'), record: join(folder, 'machine.json') };
}

/** Whether a machine of ours, whichever, stands there under this name. */
export async function hasSlipwayMark(name: string, places: ClientPaths): Promise<boolean> {
  const text = await readFileIfExists(machineFilesOf(name, places).config).catch((error: unknown) => {
    // Asked of what is to be forgotten by force: a file that can't be read keeps nothing from it.
    if (systemCode(error) === undefined) throw error;
    return undefined;
  });
  return text !== undefined && parseOwner(text) !== undefined;
}

/** The id of the machine of ours that a config.json tells of; undefined for the old tool's own. */
function parseOwner(config: string): unknown {
  try {
    return toFields(toFields(JSON.parse(config))[MARK_KEY]).Id;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

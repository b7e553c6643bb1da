import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfThere, type FileChange } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { EngineSpec, Machine } from '../machine/model.ts';
import type { ClientPlaces, Profile } from './profile.ts';

/** Files of the authority that signs for a machine, as its view names them. */
export type AuthorityPaths = {
  readonly ca: string;
  readonly caKey: string;
  readonly cert: string;
  readonly key: string;
};

/** Those that stand in place of the store's own, as far as they are named. */
export type Overrides = { readonly [Which in keyof AuthorityPaths]?: AuthorityPaths[Which] | undefined };

export type ViewOf = {
  /** The old tool's store: `~/.docker/machine`. */
  readonly root: string;
  /** The config.json that is there, parsed: what it says beside what we know stays. */
  readonly before?: unknown;
  /** HostOptions.SwarmOptions, where they are given anew. */
  readonly swarm?: Readonly<Record<string, unknown>>;
  readonly authority?: Overrides;
};

type Fields = Readonly<Record<string, unknown>>;

/** What the old tool calls drivers of ours. */
export const oldNames: Readonly<Record<string, string>> = { ec2: 'amazonec2', gce: 'google' };

/** The name that the member of a view carries by which it is known as ours; the old tool drops it when it writes the file itself. */
export const MARK = 'Slipway';

/** A machine that others may come to know by its view. `Host` and `Endpoint` are as in our record, in which nothing is secret. */
export type Mark = { readonly Id: string; readonly Host?: Machine['host']; readonly Endpoint?: Machine['endpoint'] };

const INSTALL_URL = 'https://get.docker.com';

/**
 * A machine as the old tool's config.json has it, version 3. Nothing secret is in it: keys of clouds are empty, and the engine's
 * variables stand there by their names.
 */
export function configJson(machine: Machine, view: ViewOf): string {
  const { spec, host, endpoint } = machine;
  const before = fieldsIn(view.before);
  const { ConfigVersion: _v, Driver: _d, DriverName: _n, HostOptions: _h, Name: _m, [MARK]: _mark, ...others } = before;
  const mark: Mark = {
    Id: spec.id,
    ...(host ? { Host: host } : {}),
    ...(endpoint ? { Endpoint: endpoint } : {}),
  };
  const config = {
    ConfigVersion: 3,
    Driver: driverFields(machine, view, fieldsIn(before.Driver)),
    DriverName: oldNames[spec.driver] ?? spec.driver.replace(/^docker-machine-driver-/, ''),
    HostOptions: hostOptions(machine, view, fieldsIn(before.HostOptions)),
    Name: spec.name,
    ...others,
    [MARK]: mark,
  };
  return JSON.stringify(config, null, 4);
}

function fieldsIn(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

// --- what the driver knows -------------------------------------------------------------------------------------------

function driverFields(machine: Machine, view: ViewOf, before: Fields): Fields {
  const own = OWN[machine.spec.driver] ?? ours;
  const known = { ...baseFields(machine, view, before), ...own(machine, before) };
  return { ...known, ...others(before, known) };
}

/** Members that are not ours to say, behind those that are. */
function others(before: Fields, known: Fields): Fields {
  return Object.fromEntries(Object.entries(before).filter(([key]) => !(key in known)));
}

function baseFields({ spec, host }: Machine, { root, swarm }: ViewOf, before: Fields): Fields {
  const { ssh } = host ?? {};
  const { options } = spec;
  const wanted = swarm ?? {};
  return {
    IPAddress: ipAddress(spec.driver, options, host?.address, before),
    MachineName: spec.name,
    SSHUser: ssh?.user ?? text(options.sshUser) ?? text(before.SSHUser) ?? '',
    SSHPort: ssh?.port ?? number(options.sshPort) ?? number(before.SSHPort) ?? 0,
    SSHKeyPath: ssh?.keyFile ?? text(options.sshKey) ?? text(before.SSHKeyPath) ?? '',
    StorePath: root,
    SwarmMaster: wanted.Master ?? before.SwarmMaster ?? false,
    SwarmHost: wanted.Host ?? before.SwarmHost ?? '',
    SwarmDiscovery: wanted.Discovery ?? before.SwarmDiscovery ?? '',
  };
}

/** Of an engine that is known by its URL alone, the old tool takes the host with its port. */
function ipAddress(driver: string, options: Fields, address: string | undefined, before: Fields): string {
  if (driver === 'none') return /^\w+:\/\/([^/]*)/.exec(text(options.url) ?? '')?.[1] ?? '';
  return address ?? text(options.ipAddress) ?? text(before.IPAddress) ?? '';
}

type OwnFields = (machine: Machine, before: Fields) => Fields;

const generic: OwnFields = ({ spec: { options, engine }, host }) => ({
  EnginePort: engine.port,
  SSHKey: text(options.sshKey) ?? host?.ssh?.keyFile ?? '',
});

const none: OwnFields = ({ spec: { options } }) => ({ URL: text(options.url) ?? '' });

const amazonec2: OwnFields = ({ spec: { options }, host, adopts }, before) => ({
  Id: '',
  AccessKey: '',
  SecretKey: '',
  SessionToken: '',
  Region: text(options.region) ?? '',
  AMI: text(options.ami) ?? '',
  SSHKeyID: 0,
  ExistingKey: before.ExistingKey ?? options.keypairName !== undefined,
  KeyName: text(options.keypairName) ?? text(before.KeyName) ?? '',
  InstanceId: adopts?.split('/')[0] ?? text(before.InstanceId) ?? '',
  InstanceType: text(options.instanceType) ?? '',
  PrivateIPAddress:
    options.privateAddressOnly === true || options.usePrivateAddress === true
      ? (host?.address ?? '')
      : (text(before.PrivateIPAddress) ?? ''),
  SecurityGroupId: before.SecurityGroupId ?? '',
  SecurityGroupIds: before.SecurityGroupIds ?? null,
  SecurityGroupName: before.SecurityGroupName ?? '',
  SecurityGroupNames: list(options.securityGroup),
  SecurityGroupReadOnly: options.securityGroupReadonly === true,
  OpenPorts: list(options.openPort),
  Tags: list(options.tags)
    .flatMap((tag) => tag.split(/[=,]/))
    .join(','),
  ReservationId: before.ReservationId ?? '',
  DeviceName: text(options.deviceName) ?? '',
  RootSize: number(options.rootSize) ?? 0,
  VolumeType: text(options.volumeType) ?? '',
  IamInstanceProfile: text(options.iamInstanceProfile) ?? '',
  VpcId: text(options.vpc) ?? '',
  SubnetId: text(options.subnet) ?? '',
  Zone: (text(options.zone) ?? '').slice(-1),
  RequestSpotInstance: options.spot === true,
  SpotPrice: text(options.spotPrice) ?? '',
  BlockDurationMinutes: number(options.blockDurationMinutes) ?? 0,
  PrivateIPOnly: options.privateAddressOnly === true,
  UsePrivateIP: options.usePrivateAddress === true,
  UseEbsOptimizedInstance: options.ebsOptimized === true,
  Monitoring: options.monitoring === true,
  SSHPrivateKeyPath: text(options.sshKey) ?? '',
  RetryCount: number(options.retries) ?? 5,
  Endpoint: text(options.endpoint) ?? '',
  DisableSSL: options.insecureTransport === true,
  UserDataFile: text(options.userData) ?? '',
});

const google: OwnFields = ({ spec: { options } }) => ({
  Zone: text(options.zone) ?? '',
  MachineType: text(options.machineType) ?? '',
  MachineImage: text(options.machineImage) ?? text(options.imageLink)?.replace(/^projects\//, '') ?? '',
  DiskType: text(options.diskType) ?? '',
  Address: text(options.address) ?? '',
  Network: text(options.network) ?? '',
  Subnetwork: text(options.subnetwork) ?? '',
  Preemptible: options.preemptible === true || options.spot === true,
  UseInternalIP: options.useInternalIp === true || options.useInternalIpOnly === true,
  UseInternalIPOnly: options.useInternalIpOnly === true,
  ServiceAccount: text(options.serviceAccount) ?? '',
  Scopes: list(options.scopes).join(','),
  DiskSize: number(options.diskSize) ?? 0,
  Project: text(options.project) ?? '',
  Tags: list(options.tags).join(','),
  UseExisting: options.useExisting === true,
  OpenPorts: list(options.openPort),
});

/** A driver that the old tool never had: its options, in the old tool's manner of writing. */
const ours: OwnFields = ({ spec: { options } }) =>
  Object.fromEntries(
    Object.entries(options).map(([key, value]) => [key.charAt(0).toUpperCase() + key.slice(1), value]),
  );

const OWN: Readonly<Record<string, OwnFields>> = { generic, none, ec2: amazonec2, gce: google };

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

function list(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

// --- what is the host's ----------------------------------------------------------------------------------------------

function hostOptions({ spec }: Machine, view: ViewOf, before: Fields): Fields {
  return {
    Driver: '',
    Memory: 0,
    Disk: 0,
    ...before,
    EngineOptions: engineOptions(spec.engine, fieldsIn(before.EngineOptions)),
    SwarmOptions: view.swarm ?? before.SwarmOptions ?? NO_SWARM,
    AuthOptions: authOptions(spec.name, spec.engine, view, fieldsIn(before.AuthOptions)),
  };
}

function engineOptions(engine: EngineSpec, before: Fields): Fields {
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
  return { ...known, ...others(before, known) };
}

const NO_SWARM: Fields = {
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
function authOptions(name: string, { tlsSan }: EngineSpec, { root, authority = {} }: ViewOf, before: Fields): Fields {
  const certs = join(root, 'certs');
  const folder = join(root, 'machines', name);
  return {
    CertDir: text(before.CertDir) ?? certs,
    CaCertPath: authority.ca ?? text(before.CaCertPath) ?? join(certs, 'ca.pem'),
    CaPrivateKeyPath: authority.caKey ?? text(before.CaPrivateKeyPath) ?? join(certs, 'ca-key.pem'),
    CaCertRemotePath: '',
    ServerCertPath: join(folder, 'server.pem'),
    ServerKeyPath: join(folder, 'server-key.pem'),
    ClientKeyPath: authority.key ?? text(before.ClientKeyPath) ?? join(certs, 'key.pem'),
    ServerCertRemotePath: '',
    ServerKeyRemotePath: '',
    ClientCertPath: authority.cert ?? text(before.ClientCertPath) ?? join(certs, 'cert.pem'),
    ServerCertSANs: tlsSan,
    StorePath: folder,
  };
}

// --- the profile -----------------------------------------------------------------------------------------------------

/** A machine of ours in the old tool's store, for what reads that. */
export const dockerMachine: Profile = {
  name: 'docker-machine',
  summary: 'a machine in the store of the old docker-machine, for what reads that',
  async conflict(name, id, places) {
    const { folder, config, record } = filesOf(name, places);
    const [text, theirs, others] = await Promise.all([readIfThere(config), readIfThere(record), isUsed(folder)]);
    if (theirs === undefined && (text === undefined ? !others : ownerIn(text) === id)) return undefined;
    return new SlipwayError(
      'CONTEXT_TAKEN',
      `There is a machine named "${name}" already in the old tool’s store (${folder})`,
      {
        hint: 'Choose another machine name, or leave the profile docker-machine out',
      },
    );
  },
  add({ machine, tls, places }) {
    const { folder, config } = filesOf(machine.spec.name, places);
    const certificates = Object.entries(tls ?? {}).map(([file, content]): FileChange => ({
      do: 'write',
      path: join(folder, `${file}.pem`),
      content,
      mode: 0o600,
    }));
    const [ca, cert, key] = ['ca', 'cert', 'key'].map((file) => join(folder, `${file}.pem`));
    // Its authority is its own, and the key of that stays in Slipway's store.
    const authority = { ca, cert, key, caKey: '' };
    const view = configJson(machine, { root: places.dockerMachine, authority });
    // First, since it says whose the folder is.
    return [{ do: 'write', path: config, content: view, mode: 0o600 }, ...certificates];
  },
  drop(name, places) {
    const { folder, config } = filesOf(name, places);
    const files = [...['ca', 'cert', 'key'].map((file) => join(folder, `${file}.pem`)), config];
    return [...files.map((path): FileChange => ({ do: 'delete', path })), { do: 'prune', path: folder }];
  },
};

function filesOf(
  name: string,
  { dockerMachine: root }: ClientPlaces,
): { readonly folder: string; readonly config: string; readonly record: string } {
  const folder = join(root, 'machines', name);
  return { folder, config: join(folder, 'config.json'), record: join(folder, 'machine.json') };
}

/** Whether a machine of ours, whichever, stands there under this name. */
export async function isMarked(name: string, places: ClientPlaces): Promise<boolean> {
  const text = await readIfThere(filesOf(name, places).config).catch((error: unknown) => {
    // Asked of what is to be forgotten by force: a file that can't be read keeps nothing from it.
    if (systemCode(error) === undefined) throw error;
    return undefined;
  });
  return text !== undefined && ownerIn(text) !== undefined;
}

async function isUsed(folder: string): Promise<boolean> {
  const entries = await readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  return entries.length > 0;
}

/** The id of the machine of ours that a config.json tells of; undefined for the old tool's own. */
function ownerIn(config: string): unknown {
  try {
    return fieldsIn(fieldsIn(JSON.parse(config))[MARK]).Id;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

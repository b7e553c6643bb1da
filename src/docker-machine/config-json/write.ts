import type { Machine } from '../../machine/model.ts';
import { writeAuthOptions, type AuthorityOverrides } from './auth-options.ts';
import { dockerMachineDriverName, writeDriverFields } from './driver-mappings.ts';
import { writeEngineOptions } from './engine-options.ts';
import { fieldsOrEmpty, nonEmptyString, numberOrUndefined, unknownFields, type ConfigJsonFields } from './fields.ts';
import { MARK_KEY, markOf } from './mark.ts';
import { NEWEST_VERSION } from './versions.ts';

export type ConfigJsonInput = {
  /** Docker Machine's store: `~/.docker/machine`. */
  readonly root: string;
  /** The parsed config.json that is replaced: members that Slipway does not know are kept. */
  readonly existing?: unknown;
  /** HostOptions.SwarmOptions, if they change. */
  readonly swarm?: ConfigJsonFields;
  readonly authority?: AuthorityOverrides;
};

/**
 * Returns the text of a config.json, version 3, that describes a machine. It contains nothing secret: cloud credentials
 * are empty, and the engine's variables have no values.
 */
export function formatConfigJson(machine: Machine, input: ConfigJsonInput): string {
  const { spec } = machine;
  const before = fieldsOrEmpty(input.existing);
  const config = {
    ConfigVersion: NEWEST_VERSION,
    Driver: driverSection(machine, input, fieldsOrEmpty(before.Driver)),
    DriverName: dockerMachineDriverName(spec.driver),
    HostOptions: hostOptions(machine, input, fieldsOrEmpty(before.HostOptions)),
    Name: spec.name,
  };
  const mark = { [MARK_KEY]: markOf(machine) };
  return JSON.stringify({ ...config, ...unknownFields(before, { ...config, ...mark }), ...mark }, null, 4);
}

function driverSection(machine: Machine, input: ConfigJsonInput, before: ConfigJsonFields): ConfigJsonFields {
  const known = { ...commonDriverFields(machine, input, before), ...writeDriverFields(machine, before) };
  return { ...known, ...unknownFields(before, known) };
}

/** Returns the members of `Driver` that every driver has. */
function commonDriverFields(
  { spec, host }: Machine,
  { root, swarm = {} }: ConfigJsonInput,
  before: ConfigJsonFields,
): ConfigJsonFields {
  const { options } = spec;
  const ssh = host?.ssh;
  return {
    IPAddress: spec.driver === 'none' ? engineAuthority(options.url) : ipAddress(options, host?.address, before),
    MachineName: spec.name,
    SSHUser: ssh?.user ?? nonEmptyString(options.sshUser) ?? nonEmptyString(before.SSHUser) ?? '',
    SSHPort: ssh?.port ?? numberOrUndefined(options.sshPort) ?? numberOrUndefined(before.SSHPort) ?? 0,
    SSHKeyPath: ssh?.keyFile ?? nonEmptyString(options.sshKey) ?? nonEmptyString(before.SSHKeyPath) ?? '',
    StorePath: root,
    SwarmMaster: swarm.Master ?? before.SwarmMaster ?? false,
    SwarmHost: swarm.Host ?? before.SwarmHost ?? '',
    SwarmDiscovery: swarm.Discovery ?? before.SwarmDiscovery ?? '',
  };
}

/** Returns the host with its port, which Docker Machine writes for an engine that is known by its URL alone. */
function engineAuthority(url: unknown): string {
  return /^\w+:\/\/([^/]*)/.exec(nonEmptyString(url) ?? '')?.[1] ?? '';
}

function ipAddress(options: ConfigJsonFields, address: string | undefined, before: ConfigJsonFields): string {
  return address ?? nonEmptyString(options.ipAddress) ?? nonEmptyString(before.IPAddress) ?? '';
}

function hostOptions(
  { spec: { name, engine } }: Machine,
  { root, swarm, authority = {} }: ConfigJsonInput,
  before: ConfigJsonFields,
): ConfigJsonFields {
  const auth = { name, root, authority, tlsSan: engine.tlsSan };
  return {
    Driver: '',
    Memory: 0,
    Disk: 0,
    ...before,
    EngineOptions: writeEngineOptions(engine, fieldsOrEmpty(before.EngineOptions)),
    SwarmOptions: swarm ?? before.SwarmOptions ?? NO_SWARM,
    AuthOptions: writeAuthOptions(auth, fieldsOrEmpty(before.AuthOptions)),
  };
}

/** What Docker Machine writes for a machine without standalone Swarm. */
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

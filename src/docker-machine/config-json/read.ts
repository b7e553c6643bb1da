/**
 * Reads machines from Docker Machine's config.json. The engine's variables are the only possible secrets that are read.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { drivers } from '../../drivers/registry.ts';
import { SlipwayError } from '../../errors.ts';
import type { EngineSpec, Machine, MachineSpec, SshTarget } from '../../machine/model.ts';
import { decodeHost } from '../../machine/record-format.ts';
import { engineOptions } from '../../machine/spec.ts';
import type { DriverReadContext } from './driver-fields.ts';
import { findMapping, pluginDriverName, readDriverOptions, readUnmappedOptions } from './driver-mappings.ts';
import { readEngineOptions } from './engine-options.ts';
import { fieldsOrEmpty, isFields, nonEmptyString, validPort, type ConfigJsonFields } from './fields.ts';
import { readMark, type ConfigJsonMachine, type SlipwayMark } from './mark.ts';
import { migrateToVersion3, NEWEST_VERSION } from './versions.ts';

const DEFAULT_ENGINE_PORT = 2376;

/** The parts of a config.json from which both kinds of machines are built. */
type MachineSource = {
  readonly name: string;
  /** `ROOT/machines/NAME` */
  readonly folder: string;
  readonly driverName: string;
  /** `Driver`, whose members differ from driver to driver. */
  readonly values: ConfigJsonFields;
  readonly engine: EngineSpec;
};

type UnreadableError = (reason: string, cause?: unknown) => SlipwayError;

/**
 * Reads the machine that the text of a config.json describes. Returns undefined if `text` is undefined. Throws
 * RECORD_BROKEN if the file can't be used.
 */
export function readConfigJson(name: string, folder: string, text: string | undefined): Machine | undefined {
  if (text === undefined) return undefined;
  const path = join(folder, 'config.json');
  const unreadableError: UnreadableError = (reason, cause) =>
    new SlipwayError('RECORD_BROKEN', `The record of "${name}" can't be used: ${reason} (${path})`, {
      hint: 'Fix the file, or remove its folder',
      cause,
    });
  const config = parseNewestVersion(text, folder, path, unreadableError);
  const source = requireSource(name, folder, config, unreadableError);
  const mark = readMark(config);
  const machine = mark ? toSlipwayMachine(source, mark) : toDockerMachineMachine(source);
  const problem = describeInvalidOptions(machine.spec);
  if (problem !== undefined) throw unreadableError(problem);
  return machine;
}

function parseNewestVersion(
  text: string,
  folder: string,
  path: string,
  unreadableError: UnreadableError,
): ConfigJsonFields {
  const config = parseJson(text, unreadableError);
  if (!isFields(config)) throw unreadableError('it is not a record');
  const version = config.ConfigVersion ?? 0;
  if (typeof version !== 'number') throw unreadableError('its ConfigVersion is not a number');
  // This is Docker Machine's own message.
  if (version > NEWEST_VERSION)
    throw new SlipwayError(
      'RECORD_BROKEN',
      'config version is from the future -- you should upgrade your Docker Machine client',
      { hint: `${path} is of version ${version}` },
    );
  return migrateToVersion3(config, version, folder);
}

function parseJson(text: string, unreadableError: UnreadableError): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw unreadableError(text.trim() === '' ? 'it is empty' : 'it is not JSON', error);
  }
}

function requireSource(
  name: string,
  folder: string,
  config: ConfigJsonFields,
  unreadableError: UnreadableError,
): MachineSource {
  const driverName = nonEmptyString(config.DriverName);
  if (driverName === undefined || !isDriverName(driverName) || !isFields(config.Driver))
    throw unreadableError('it names no driver');
  const values = config.Driver;
  const { EngineOptions } = fieldsOrEmpty(config.HostOptions);
  const defaults = { ...(engineOptions.parse({}) as EngineSpec), port: enginePortOf(driverName, values) };
  return { name, folder, driverName, values, engine: readEngineOptions(fieldsOrEmpty(EngineOptions), defaults) };
}

/**
 * Accepts only plain words, since the name is looked up and printed. Names that every object has, such as
 * `constructor`, are refused.
 */
function isDriverName(name: string): boolean {
  return /^[a-z0-9][a-z0-9._-]*$/i.test(name) && !(name in {});
}

function enginePortOf(driverName: string, values: ConfigJsonFields): number {
  const port = { generic: values.EnginePort, azure: values.DockerPort, vmwarevcloudair: values.DockerPort }[driverName];
  return validPort(port) ?? DEFAULT_ENGINE_PORT;
}

// --- machines that only Docker Machine knows -------------------------------------------------------------------------

function toDockerMachineMachine({ name, folder, driverName, values, engine }: MachineSource): Machine {
  const mapping = findMapping(driverName);
  const adoptedResource = mapping?.adoptedResources?.(values, name);
  // Docker Machine deletes the address when it stops a machine; with a placeholder, the machine can still be started.
  const ssh =
    sshTargetOf(driverName, values, folder) ??
    (adoptedResource === undefined ? undefined : stoppedSshTarget(values, folder));
  const identity = mapping?.resourceIdentity(values, name) ?? '';
  const spec: MachineSpec = {
    id: deriveId(folder, name, driverName, identity),
    name,
    driver: mapping?.driver ?? foreignDriverName(driverName),
    options: mapping === undefined ? {} : readDriverOptions(mapping, values, { name, ssh }),
    engine,
    profiles: [],
  };
  const adoption = adoptedResource === undefined ? {} : { adoptedResource };
  if (driverName === 'none') return engineOnlyMachine(spec, nonEmptyString(values.URL) ?? '');
  if (ssh === undefined) return { version: 1, phase: 'creating', spec, ...adoption };
  const address = nonEmptyString(values.IPAddress) ?? ssh.address;
  const endpoint = { url: `tcp://${bracketIpv6(address)}:${engine.port}`, tls: true };
  return { version: 1, phase: 'ready', spec, host: { address, ssh }, endpoint, ...adoption };
}

function foreignDriverName(driverName: string): string {
  return drivers.some((driver) => driver.name === driverName) ? pluginDriverName(driverName) : driverName;
}

function sshTargetOf(driverName: string, values: ConfigJsonFields, folder: string): SshTarget | undefined {
  const ip = nonEmptyString(values.IPAddress);
  if (ip === undefined) return undefined;
  // An empty path means the key that the driver created; with `generic` it means the user's own keys.
  const keyFile = nonEmptyString(values.SSHKeyPath) ?? (driverName === 'generic' ? undefined : join(folder, 'id_rsa'));
  return {
    // VirtualBox forwards a port of this computer to the VM's SSH server; the engine has the VM's own address.
    address: driverName === 'virtualbox' ? '127.0.0.1' : ip,
    port: validPort(values.SSHPort) ?? 22,
    user: nonEmptyString(values.SSHUser) ?? 'root',
    ...(keyFile === undefined ? {} : { keyFile }),
  };
}

/** Returns a target with an address that no DNS server resolves (RFC 2606). */
function stoppedSshTarget(values: ConfigJsonFields, folder: string): SshTarget {
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

/** Derives an id in the form of a UUID: the same at each read, but another one for a later machine of the same name. */
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

function bracketIpv6(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

// --- machines of Slipway that a config.json describes ----------------------------------------------------------------

function toSlipwayMachine(
  source: MachineSource,
  { Id: id, Host: hostRecord, Endpoint: endpoint }: SlipwayMark,
): Machine {
  const { name, driverName, engine } = source;
  const host = hostRecord && decodeHost(hostRecord);
  const driver = findMapping(driverName)?.driver ?? driverName;
  const options = slipwayOptions(source, { name, ssh: host?.ssh });
  const spec: MachineSpec = { id, name, driver, options, engine, profiles: [] };
  const machine: Machine =
    host && endpoint
      ? { version: 1, phase: 'ready', spec, host, endpoint }
      : host
        ? { version: 1, phase: 'created', spec, host }
        : { version: 1, phase: 'creating', spec };
  const foreign: ConfigJsonMachine = { ...machine, managedBySlipway: true };
  return foreign;
}

function slipwayOptions({ driverName, values }: MachineSource, context: DriverReadContext): ConfigJsonFields {
  const mapping = findMapping(driverName);
  if (mapping !== undefined) return readDriverOptions(mapping, values, context);
  const shape = drivers.find(({ name }) => name === driverName)?.options.shape ?? {};
  return readUnmappedOptions(values, Object.keys(shape));
}

/**
 * Describes the first option that Slipway's own driver would refuse. Options of `none` are not checked: Docker Machine
 * accepts any text as an engine's URL.
 */
function describeInvalidOptions({ driver: name, options }: MachineSpec): string | undefined {
  const driver = drivers.find((candidate) => candidate.name === name);
  if (!driver || name === 'none' || Object.keys(options).length === 0) return undefined;
  const result = driver.options.safeParse(options);
  if (result.success) return undefined;
  const [issue] = result.error.issues;
  return `${issue?.path.join('.') ?? 'an option'} of its driver is invalid: ${issue?.message ?? ''}`;
}

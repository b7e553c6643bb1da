import type { Machine, MachineSpec } from '../../machine/model.ts';
import { textField, type DriverMapping, type DriverReadContext } from './driver-fields.ts';
import { ec2Mapping } from './ec2-fields.ts';
import { nonEmptyString, withoutUndefined, type ConfigJsonFields } from './fields.ts';
import { gceMapping } from './gce-fields.ts';

const genericMapping: DriverMapping = {
  driver: 'generic',
  driverName: 'generic',
  fields: [
    { key: 'EnginePort', write: ({ spec }) => spec.engine.port },
    { key: 'SSHKey', write: ({ spec, host }) => nonEmptyString(spec.options.sshKey) ?? host?.ssh?.keyFile ?? '' },
  ],
  readConnection: (_values, { ssh }) => ({
    ipAddress: ssh?.address,
    sshUser: ssh?.user,
    sshPort: ssh?.port,
    sshKey: ssh?.keyFile,
  }),
  resourceIdentity: ({ IPAddress }) => nonEmptyString(IPAddress) ?? '',
};

const noneMapping: DriverMapping = {
  driver: 'none',
  driverName: 'none',
  fields: [textField('URL', 'url')],
  resourceIdentity: ({ URL: url }) => nonEmptyString(url) ?? '',
};

/** The drivers that both programs have. */
const MAPPINGS: readonly DriverMapping[] = [genericMapping, noneMapping, ec2Mapping, gceMapping];

/** Finds the mapping of a driver by Docker Machine's name of it. */
export function findMapping(driverName: string): DriverMapping | undefined {
  return MAPPINGS.find((mapping) => mapping.driverName === driverName);
}

/** Docker Machine runs a third-party driver as a program whose name begins like this. */
const PLUGIN_PREFIX = 'docker-machine-driver-';

/** Returns Docker Machine's name of a driver that Slipway calls `driver`. */
export function dockerMachineDriverName(driver: string): string {
  const mapping = MAPPINGS.find((candidate) => candidate.driver === driver);
  return mapping?.driverName ?? (driver.startsWith(PLUGIN_PREFIX) ? driver.slice(PLUGIN_PREFIX.length) : driver);
}

/** Returns a name for a plugin whose `DriverName` is also the name of an unrelated Slipway driver. */
export function pluginDriverName(driverName: string): string {
  return `${PLUGIN_PREFIX}${driverName}`;
}

/** Returns the members of `Driver` that are specific to the machine's driver. */
export function writeDriverFields(machine: Machine, before: ConfigJsonFields): ConfigJsonFields {
  const { driver, options } = machine.spec;
  const mapping = MAPPINGS.find((candidate) => candidate.driver === driver);
  if (mapping === undefined) return writeUnmappedOptions(options);
  return Object.fromEntries(mapping.fields.map(({ key, write }) => [key, write(machine, before)]));
}

/** Returns the driver's options that the members of `Driver` represent. */
export function readDriverOptions(
  { fields, readConnection }: DriverMapping,
  values: ConfigJsonFields,
  context: DriverReadContext,
): ConfigJsonFields {
  const options = fields.map(({ read }) => read?.(values, context) ?? {});
  return withoutUndefined(Object.assign({}, ...options, readConnection?.(values, context)) as ConfigJsonFields);
}

/** Returns the options of a driver that Docker Machine never had, capitalized as Docker Machine writes its own. */
function writeUnmappedOptions(options: MachineSpec['options']): ConfigJsonFields {
  return Object.fromEntries(Object.entries(options).map(([option, value]) => [capitalize(option), value]));
}

/** Reads the options that `writeUnmappedOptions` wrote, by their names. */
export function readUnmappedOptions(values: ConfigJsonFields, names: readonly string[]): ConfigJsonFields {
  return withoutUndefined(Object.fromEntries(names.map((option) => [option, values[capitalize(option)]])));
}

function capitalize(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/**
 * The types of the tables that map a driver's options to the members of `Driver` in config.json, in both directions.
 */
import type { Machine, SshTarget } from '../../machine/model.ts';
import { nonEmptyString, numberOrUndefined, positiveNumber, stringList, type ConfigJsonFields } from './fields.ts';

/** What a reader knows about the machine besides the members of `Driver`. */
export type DriverReadContext = {
  readonly name: string;
  /** Undefined for a machine that has no address. */
  readonly ssh: SshTarget | undefined;
};

/** One member of `Driver`. */
export type DriverField = {
  readonly key: string;
  /** Returns the member's value. `before` is the `Driver` of the file that is replaced. */
  readonly write: (machine: Machine, before: ConfigJsonFields) => unknown;
  /** Returns the options that the member represents; missing if Slipway does not read the member. */
  readonly read?: (values: ConfigJsonFields, context: DriverReadContext) => ConfigJsonFields;
};

/** How config.json stores the machines of one driver. */
export type DriverMapping = {
  /** Slipway's name of the driver. */
  readonly driver: string;
  /** Docker Machine's name of it: `DriverName`. */
  readonly driverName: string;
  /** The fields, in the order in which Docker Machine writes them. */
  readonly fields: readonly DriverField[];
  /** Returns the options that are not among the driver's own members, such as those of the SSH connection. */
  readonly readConnection?: (values: ConfigJsonFields, context: DriverReadContext) => ConfigJsonFields;
  /**
   * Returns what distinguishes this machine from another of the same name: part of the id of a machine without record.
   */
  readonly resourceIdentity: (values: ConfigJsonFields, name: string) => string;
  /**
   * Returns the provider's resources for the machine's `adoptedResource`; undefined if there are none to adopt.
   */
  readonly adoptedResources?: (values: ConfigJsonFields, name: string) => string | undefined;
};

export function textField(key: string, option: string): DriverField {
  return {
    key,
    write: ({ spec }) => nonEmptyString(spec.options[option]) ?? '',
    read: (values) => ({ [option]: nonEmptyString(values[key]) }),
  };
}

export function numberField(key: string, option: string): DriverField {
  return {
    key,
    write: ({ spec }) => numberOrUndefined(spec.options[option]) ?? 0,
    read: (values) => ({ [option]: positiveNumber(values[key]) }),
  };
}

export function booleanField(key: string, option: string): DriverField {
  return {
    key,
    write: ({ spec }) => spec.options[option] === true,
    read: (values) => ({ [option]: values[key] === true }),
  };
}

export function listField(key: string, option: string): DriverField {
  return {
    key,
    write: ({ spec }) => stringList(spec.options[option]),
    read: (values) => ({ [option]: stringList(values[key]) }),
  };
}

/** A list that config.json stores as one text, with commas between the items. */
export function commaListField(key: string, option: string): DriverField {
  return {
    key,
    write: ({ spec }) => stringList(spec.options[option]).join(','),
    read: (values) => ({ [option]: nonEmptyString(values[key])?.split(',') ?? [] }),
  };
}

/** A member that Slipway always writes with the same value: a secret it leaves out, or a setting it does not have. */
export function constantField(key: string, value: unknown): DriverField {
  return { key, write: () => value };
}

/** A member that Slipway does not interpret: it stays as it is in the replaced file. */
export function keptField(key: string, initial: unknown): DriverField {
  return { key, write: (_machine, before) => before[key] ?? initial };
}

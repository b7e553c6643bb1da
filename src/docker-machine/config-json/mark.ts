/** The mark that identifies a config.json which describes a machine of Slipway. */
import type { Machine } from '../../machine/model.ts';
import { encodeHost, type HostRecord } from '../../machine/record-format.ts';
import { fieldsOrEmpty, isFields, validPort, type ConfigJsonFields } from './fields.ts';
import { parseJson } from '../../parse-json.ts';

/** The member of config.json that holds the mark. Docker Machine drops it when it writes the file itself. */
export const MARK_KEY = 'Slipway';

/** The mark's content. `Host` and `Endpoint` are those of the record, and contain nothing secret. */
export type SlipwayMark = {
  readonly Id: string;
  readonly Host?: HostRecord;
  readonly Endpoint?: Machine['endpoint'];
};

/**
 * A machine as read from config.json. `managedBySlipway` means that its record is elsewhere, and only `slipway` changes
 * it.
 */
export type ConfigJsonMachine = Machine & { readonly managedBySlipway?: true };

/** Returns whether the machine's record is in Slipway's own store, and the config.json only describes it. */
export function isManagedBySlipway(machine: Machine): boolean {
  return (machine as ConfigJsonMachine).managedBySlipway === true;
}

export function markOf({ spec, host, endpoint }: Machine): SlipwayMark {
  return { Id: spec.id, ...(host ? { Host: encodeHost(host) } : {}), ...(endpoint ? { Endpoint: endpoint } : {}) };
}

/** Returns the mark without invalid members; undefined if config.json has no mark. */
export function readMark(config: ConfigJsonFields): SlipwayMark | undefined {
  const { Id, Host: host, Endpoint: endpoint } = fieldsOrEmpty(config[MARK_KEY]);
  if (typeof Id !== 'string') return undefined;
  return { Id, ...(isHost(host) ? { Host: host } : {}), ...(isEndpoint(endpoint) ? { Endpoint: endpoint } : {}) };
}

/** Returns the id of the Slipway machine that the text of a config.json describes; undefined for any other text. */
export function readOwnerId(text: string): unknown {
  return fieldsOrEmpty(fieldsOrEmpty(parseJson(text))[MARK_KEY]).Id;
}

function isHost(value: unknown): value is HostRecord {
  if (!isFields(value) || typeof value.address !== 'string') return false;
  const { ssh, engine } = value;
  if (isFields(ssh))
    return typeof ssh.address === 'string' && validPort(ssh.port) !== undefined && typeof ssh.user === 'string';
  return isFields(engine) && typeof engine.url === 'string';
}

function isEndpoint(value: unknown): value is NonNullable<Machine['endpoint']> {
  return isFields(value) && typeof value.url === 'string' && typeof value.tls === 'boolean';
}

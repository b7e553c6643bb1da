/**
 * Converts machines to records and back. A record is what machine.json and `inspect` contain. Its keys never change,
 * because users' stores, scripts and Go templates depend on them; the keys of `Machine` may. Only this file knows both.
 */
import type {
  Batch,
  Endpoint,
  EngineSpec,
  ExistingEngine,
  FailureRecord,
  Host,
  LastRequest,
  LifetimeSpec,
  Machine,
  MachineSpec,
  SharingSpec,
  ShutdownBehavior,
  SshHop,
  SshTarget,
} from './model.ts';

/** `spec` of a record. */
export type MachineSpecRecord = {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly engine: EngineSpec;
  readonly profiles: readonly string[];
  readonly life?: LifetimeSpec;
  readonly sharing?: SharingSpec;
  readonly batch?: Batch;
  readonly given?: Readonly<Record<string, unknown>>;
  readonly fleet?: string;
};

/** `host.ssh.jump` of a record. */
export type SshHopRecord = Omit<SshHop, 'bootstrapHostKey'> & { readonly birthKey?: string };

/** `host.ssh` of a record. */
export type SshTargetRecord = SshHopRecord & { readonly keyFile?: string; readonly jump?: SshHopRecord };

/** `host` of a record. */
export type HostRecord =
  | {
      readonly address: string;
      readonly ssh: SshTargetRecord;
      readonly enginePort?: number;
      readonly instance?: string;
      readonly engine?: never;
    }
  | { readonly address: string; readonly engine: ExistingEngine; readonly ssh?: never };

/** The content of a machine.json. */
export type MachineRecord = {
  readonly version: 1;
  readonly spec: MachineSpecRecord;
  readonly failure?: FailureRecord;
  readonly deadline?: string;
  readonly ending?: ShutdownBehavior;
  readonly untold?: true;
  readonly due?: 'restart';
  readonly adopts?: string;
} & (
  | { readonly phase: 'creating'; readonly asked?: LastRequest; readonly host?: never; readonly endpoint?: never }
  | { readonly phase: 'created'; readonly host: HostRecord; readonly endpoint?: never }
  | { readonly phase: 'ready'; readonly host: HostRecord; readonly endpoint: Endpoint }
);

/** The keys that differ: first the key in memory, then the key in the record. */
const MACHINE_KEYS = [
  ['onShutdown', 'ending'],
  ['deadlinePending', 'untold'],
  ['pendingRestart', 'due'],
  ['lastRequest', 'asked'],
  ['adoptedResource', 'adopts'],
] as const satisfies KeyPairs<Machine, MachineRecord>;
const SPEC_KEYS = [
  ['lifetime', 'life'],
  ['userOptions', 'given'],
] as const satisfies KeyPairs<MachineSpec, MachineSpecRecord>;
const HOP_KEYS = [['bootstrapHostKey', 'birthKey']] as const satisfies KeyPairs<SshHop, SshHopRecord>;

type KeyPairs<InMemory, Persisted> = readonly (readonly [KeyOf<InMemory>, KeyOf<Persisted>])[];
type KeyOf<T> = (T extends unknown ? keyof T : never) & string;

/** Returns the record of a machine; `decodeMachine` is the inverse. Keys keep their order. */
export function encodeMachine(machine: Machine): MachineRecord {
  return mapMachine(machine, 'encode') as MachineRecord;
}

/** Returns the machine of a record. Keeps members that this version does not know, so that it writes them back. */
export function decodeMachine(record: MachineRecord): Machine {
  return mapMachine(record, 'decode') as Machine;
}

export function encodeHost(host: Host): HostRecord {
  return mapHost(host, 'encode') as HostRecord;
}

export function decodeHost(host: HostRecord): Host {
  return mapHost(host, 'decode') as Host;
}

type Direction = 'encode' | 'decode';
type Members = Readonly<Record<string, unknown>>;

function mapMachine(machine: Machine | MachineRecord, direction: Direction): Members {
  const renamed = renameKeys(machine, MACHINE_KEYS, direction);
  const restart = direction === 'encode' ? 'due' : 'pendingRestart';
  return {
    ...renamed,
    spec: renameKeys(machine.spec, SPEC_KEYS, direction),
    ...(renamed[restart] !== undefined ? { [restart]: direction === 'encode' ? 'restart' : true } : {}),
    ...(machine.host ? { host: mapHost(machine.host, direction) } : {}),
  };
}

function mapHost(host: Host | HostRecord, direction: Direction): Members {
  return host.ssh ? { ...host, ssh: mapTarget(host.ssh, direction) } : host;
}

function mapTarget(target: SshTarget | SshTargetRecord, direction: Direction): Members {
  const renamed = renameKeys(target, HOP_KEYS, direction);
  return target.jump ? { ...renamed, jump: renameKeys(target.jump, HOP_KEYS, direction) } : renamed;
}

function renameKeys(
  members: object,
  pairs: readonly (readonly [inMemory: string, persisted: string])[],
  direction: Direction,
): Members {
  const names = new Map(
    pairs.map(([inMemory, persisted]) => (direction === 'encode' ? [inMemory, persisted] : [persisted, inMemory])),
  );
  return Object.fromEntries(Object.entries(members).map(([key, value]) => [names.get(key) ?? key, value as unknown]));
}

/**
 * The types of Slipway, in the order in which a create produces them. `operations/` connects them:
 *
 *   flags / env / wizard -> MachineSpec -> driver.create -> Host -> Plan -> one SSH connection -> Endpoint -> profiles
 */

/** The engine as the user wants it. Declared, with flags and questions, in `spec.ts`. */
export type EngineSpec = {
  readonly source: 'docker' | 'distro' | 'none' | 'url';
  readonly version?: string | undefined;
  readonly installUrl?: string | undefined;
  readonly repositoryUrl?: string | undefined;
  readonly repositoryKey?: string | undefined;
  readonly port: number;
  readonly opt: readonly string[];
  readonly label: readonly string[];
  readonly env: readonly string[];
  readonly registryMirror: readonly string[];
  readonly insecureRegistry: readonly string[];
  readonly storageDriver?: string | undefined;
  readonly tlsSan: readonly string[];
};

/** When a machine ends or stops by itself, as the user wrote it: `90m`, `4h`, `2d`. Declared in `spec.ts`. */
export type LifetimeSpec = { readonly ttl?: string | undefined; readonly idleStop?: string | undefined };

/** What happens to a machine that shuts itself down. */
export type ShutdownBehavior = 'removed' | 'stopped';

/** Stage 1: everything the user decided. Once a spec exists, nothing asks a question again. */
export type MachineSpec = {
  /** A random id. It marks everything that belongs to this machine: cloud resources, docker contexts, files on the host. */
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  /** Parsed by that driver's schema. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly engine: EngineSpec;
  readonly profiles: readonly string[];
  /** Absent if the user asked for neither. */
  readonly lifetime?: LifetimeSpec;
  readonly batch?: Batch;
  /** The options as the user gave them, if the driver resolves those that are left open. `apply` compares a file with these. */
  readonly userOptions?: Readonly<Record<string, unknown>>;
  /** The mark of the file that `apply` created the machine from. Absent for all others, so that no --prune removes them. */
  readonly fleet?: string;
};

/** Machines of one bulk call share an id at the provider. `index` counts from 0. */
export type Batch = { readonly id: string; readonly index: number; readonly size: number };

/** The last request that a create sent to a provider, and when (ISO 8601). */
export type LastRequest = { readonly what: string; readonly at: string };

/** One hop of an SSH route. */
export type SshHop = {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  /** The pinned key as it stands in a known_hosts file: `ssh-ed25519 AAAA…`. Absent until first seen. */
  readonly hostKey?: string;
  /** A fingerprint (`SHA256:…`) or public key that the user gave, to verify the host key at the first connection. */
  readonly expectedKey?: string;
  /** The bootstrap host key from user data, which others may have read: accepted until the pinned key has replaced it. */
  readonly bootstrapHostKey?: string;
};

export type SshTarget = SshHop & {
  /** Path of a private key. Without it: the agent, then the usual files in ~/.ssh. */
  readonly keyFile?: string;
  readonly jump?: SshHop;
};

/** An engine that Slipway did not install: its URL, and the paths of its client certificates. */
export type ExistingEngine = {
  readonly url: string;
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
};

/** Stage 2: where the machine is. It has either `ssh` (Slipway provisions it) or `engine` (somebody else did). */
export type Host =
  | {
      readonly address: string;
      readonly ssh: SshTarget;
      /** The port at which clients reach the engine, if another port is forwarded to the one on which it listens. */
      readonly enginePort?: number;
      readonly engine?: never;
    }
  | { readonly address: string; readonly engine: ExistingEngine; readonly ssh?: never };

/** Stage 3: an engine that answers. The certificates are in the store (`store.paths(name)`), never in the record. */
export type Endpoint = { readonly url: string; readonly tls: boolean };

/** Why the last command on this machine failed; a command that succeeds removes it. */
export type FailureRecord = {
  readonly at: string;
  readonly step: string;
  readonly code: string;
  readonly message: string;
};

/** A machine in memory; `record-format.ts` maps it to its record. Each phase has fields that the ones before lack. */
export type Machine = {
  readonly version: 1;
  readonly spec: MachineSpec;
  readonly failure?: FailureRecord;
  /** When the machine ends by itself (ISO 8601). Each create that continues an interrupted one counts from its own start. */
  readonly deadline?: string;
  /** What the provider does when the machine shuts itself down; absent if it was never asked. */
  readonly onShutdown?: ShutdownBehavior;
  /** The deadline changed while the host was stopped, so its timers still have the old one: the next start sets them. */
  readonly deadlinePending?: true;
  /** The machine has new options that apply at a start, and `apply` was interrupted before it restarted the machine. */
  readonly pendingRestart?: true;
  /** The provider's name of a resource that another tool created and that does not carry Slipway's tags yet. */
  readonly adoptedResource?: string;
} & (
  | { readonly phase: 'creating'; readonly lastRequest?: LastRequest; readonly host?: never; readonly endpoint?: never }
  | { readonly phase: 'created'; readonly host: Host; readonly endpoint?: never }
  | { readonly phase: 'ready'; readonly host: Host; readonly endpoint: Endpoint }
);
export type CreatedMachine = Extract<Machine, { readonly phase: 'created' }>;
export type ReadyMachine = Extract<Machine, { readonly phase: 'ready' }>;

/** The three PEM texts that a client needs to connect to an engine. */
export type ClientCertificates = { readonly ca: string; readonly cert: string; readonly key: string };

const NAME_PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}$/;

/** Returns whether this is a machine name. Such a name can't be a path, a flag, or a word that a shell interprets. */
export function isMachineName(name: string): boolean {
  return NAME_PATTERN.test(name);
}

/**
 * Sorts names as people do: numbers by value, lower-case letters beside upper-case ones. For the characters that a name may
 * have, the result is that of an Intl.Collator; creating one takes a third of the time that Node takes to start.
 */
export function sortNames(names: readonly string[]): readonly string[] {
  const keys = names.map((name) => `${alphabeticKey(name)}\0${caseKey(name)}\0${name}`);
  return keys.toSorted().map((key) => key.slice(key.lastIndexOf('\0') + 1));
}

/** Orders `-`, `.`, numbers, letters; a number with more digits is greater. */
function alphabeticKey(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/0*(\d+)/g, (_, digits: string) => `0${String.fromCharCode(digits.length)}${digits}`);
}

/** Puts the lower-case letter first where nothing else differs. */
function caseKey(name: string): string {
  return name.replaceAll(/\d+|[a-z]+|[A-Z]+/g, (run) =>
    /\d/.test(run) ? '' : run === run.toLowerCase() ? run.toUpperCase() : run.toLowerCase(),
  );
}

/**
 * The main types of Slipway, in the order in which `create` produces them. `operations/` connects them:
 *
 *   flags / env / wizard -> MachineSpec -> driver.create -> Host -> Plan -> one SSH connection -> Endpoint -> profiles
 */

/** The engine that the user wants. `spec.ts` declares it, with its flags and questions. */
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

/** After which time a machine ends or stops by itself, as the user wrote it: `90m`, `4h`, `2d`. See `spec.ts`. */
export type LifetimeSpec = { readonly ttl?: string | undefined; readonly idleStop?: string | undefined };

/** What happens to a machine that shuts itself down. */
export type ShutdownBehavior = 'removed' | 'stopped';

/** Stage 1: everything the user decided. Once a spec exists, nothing asks a question again. */
export type MachineSpec = {
  /** A random id that marks all that belongs to this machine: cloud resources, docker contexts, files on the host. */
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  /** The driver's options, parsed with its schema. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly engine: EngineSpec;
  readonly profiles: readonly string[];
  /** Absent if the user set neither --ttl nor --idle-stop. */
  readonly lifetime?: LifetimeSpec;
  readonly batch?: Batch;
  /**
   * The options as the user gave them. Present if the driver resolves the options that the user left open. `apply`
   * compares machines.yaml with these.
   */
  readonly userOptions?: Readonly<Record<string, unknown>>;
  /**
   * Identifies the machines.yaml from which `apply` created the machine. Absent for all other machines, so that --prune
   * never removes them.
   */
  readonly fleet?: string;
};

/** Identifies the machines that one API call created: they share an id at the provider. `index` counts from 0. */
export type Batch = { readonly id: string; readonly index: number; readonly size: number };

/** The last request that `create` sent to a provider, and its time (ISO 8601). */
export type LastRequest = { readonly what: string; readonly at: string };

/** One hop of an SSH route. */
export type SshHop = {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  /** The pinned host key as in a known_hosts file: `ssh-ed25519 AAAA…`. Absent before the first connection. */
  readonly hostKey?: string;
  /** A fingerprint (`SHA256:…`) or public key that the user gave, to verify the host key at the first connection. */
  readonly expectedKey?: string;
  /**
   * The bootstrap host key. Others may have read it in the user data, so it is accepted only until the pinned key has
   * replaced it.
   */
  readonly bootstrapHostKey?: string;
};

export type SshTarget = SshHop & {
  /** Path of a private key. If absent, SSH tries the agent's keys, then the usual files in ~/.ssh. */
  readonly keyFile?: string;
  readonly jump?: SshHop;
};

/** An engine that Slipway did not install: its URL, and the paths of its client certificates. */
export type ExistingEngine = {
  readonly url: string;
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
};

/** Stage 2: where the machine is. Has `ssh` if Slipway provisions the host, `engine` if the user set up the engine. */
export type Host =
  | {
      readonly address: string;
      readonly ssh: SshTarget;
      /** The port that clients connect to, if it is forwarded to the port on which the engine listens. */
      readonly enginePort?: number;
      readonly engine?: never;
    }
  | { readonly address: string; readonly engine: ExistingEngine; readonly ssh?: never };

/** Stage 3: an engine that answers. Its certificates are in the store (`store.paths(name)`), never in the record. */
export type Endpoint = { readonly url: string; readonly tls: boolean };

/** Why the last command on this machine failed. The next command that succeeds removes it. */
export type FailureRecord = {
  readonly at: string;
  readonly step: string;
  readonly code: string;
  readonly message: string;
};

/** A machine in memory; `record-format.ts` converts it to its record. Each phase adds fields. */
export type Machine = {
  readonly version: 1;
  readonly spec: MachineSpec;
  readonly failure?: FailureRecord;
  /** When the machine ends by itself (ISO 8601). A `create` that continues an interrupted one sets it again. */
  readonly deadline?: string;
  /** What the provider does when the machine shuts itself down; absent if no command has set it. */
  readonly onShutdown?: ShutdownBehavior;
  /** The deadline changed while the host was stopped, so its timers are outdated: the next `start` updates them. */
  readonly deadlinePending?: true;
  /** `apply` changed options that take effect at a start, and was interrupted before it restarted the machine. */
  readonly pendingRestart?: true;
  /** The provider's name of a resource that another tool created and that does not have Slipway's tags yet. */
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

/** Returns whether a name is valid. A valid name is never a path, a flag, or a word that a shell interprets. */
export function isMachineName(name: string): boolean {
  return NAME_PATTERN.test(name);
}

/**
 * Sorts names as people do: numbers by value, upper-case letters next to lower-case ones. For the characters that are
 * valid in names, an Intl.Collator would return the same, but creating one takes a third of Node's start-up time.
 */
export function sortNames(names: readonly string[]): readonly string[] {
  const keys = names.map((name) => `${alphabeticKey(name)}\0${caseKey(name)}\0${name}`);
  return keys.toSorted().map((key) => key.slice(key.lastIndexOf('\0') + 1));
}

/** Sorts in the order `-`, `.`, numbers, letters; a number with more digits is greater. */
function alphabeticKey(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/0*(\d+)/g, (_, digits: string) => `0${String.fromCharCode(digits.length)}${digits}`);
}

/** Sorts the lower-case letter first if names differ only in case. */
function caseKey(name: string): string {
  return name.replaceAll(/\d+|[a-z]+|[A-Z]+/g, (run) =>
    /\d/.test(run) ? '' : run === run.toLowerCase() ? run.toUpperCase() : run.toLowerCase(),
  );
}

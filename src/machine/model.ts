/**
 * The main types of Slipway, in the order in which `create` produces them. `operations/` connects them:
 *
 *   flags / env / wizard -> MachineSpec -> driver.create -> Host -> Plan -> one SSH connection -> Endpoint -> profiles
 *
 * `Machine` combines them. Its phase says which of them exist: `creating` has a spec, `created` also a host, and
 * `ready` also an endpoint. `Plan` is in provision/step.ts.
 */

/** The engine that the user wants. `spec.ts` declares it, with its flags and questions. */
export type EngineSpec = {
  readonly source: 'docker' | 'distro' | 'none' | 'url';
  readonly version?: string | undefined;
  readonly installUrl?: string | undefined;
  /** `user:password` for `installUrl`, as in a URL. A secret: it is in no record, and in no option. */
  readonly installLogin?: string;
  readonly repositoryUrl?: string | undefined;
  /** `user:password` for `repositoryUrl`, as in a URL. A secret: it is in no record, and in no option. */
  readonly repositoryLogin?: string;
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

/**
 * How long a machine may exist (`ttl`) and be idle (`idleStop`) before it shuts itself down, as the user wrote it:
 * `90m`, `4h`, `2d`. `spec.ts` declares the flags.
 */
export type LifetimeSpec = { readonly ttl?: string | undefined; readonly idleStop?: string | undefined };

/** What a machine and this computer share while it runs. `spec.ts` declares the flags. */
export type SharingSpec = {
  /** Whether the machine has a link while it runs. If missing, only a VM of this computer has one. */
  readonly link?: boolean | undefined;
  /** The address of this computer on which ports are opened; 127.0.0.1 if missing. */
  readonly publishOn?: string | undefined;
};

/** Whether the provider removes a machine that shuts itself down, or keeps it stopped. */
export type ShutdownBehavior = 'removed' | 'stopped';

/** Everything the user decided. Once a spec exists, Slipway asks the user no further question. */
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
  /** Absent if the user set neither --no-link nor --publish-on. */
  readonly sharing?: SharingSpec;
  readonly batch?: Batch;
  /**
   * The options as the user gave them. Present if the driver adds to `options` what the user left open
   * (`resolveOptions`). `apply` compares machines.yaml with these.
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

/**
 * The last request with which `create` creates a resource at a provider: the kind of resource, and when the request was
 * recorded (ISO 8601), just before it was sent.
 */
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
   * The public part of the bootstrap host key. Others may have read the private part in the user data, so Slipway
   * accepts this key only until the first connection has replaced it with the pinned key.
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

/** Where the machine is. `ssh` is set if Slipway provisions the host, `engine` if the user set up the engine. */
export type Host =
  | {
      readonly address: string;
      readonly ssh: SshTarget;
      /** The port that clients connect to, if the driver forwards one to the engine's own port. */
      readonly enginePort?: number;
      /** The provider's name for the instance, for messages where the provider can't be asked. */
      readonly instance?: string;
      readonly engine?: never;
    }
  | { readonly address: string; readonly engine: ExistingEngine; readonly ssh?: never };

/** An engine that answers. Its certificates are in the store (`store.paths(name)`), never in the record. */
export type Endpoint = { readonly url: string; readonly tls: boolean };

/** Why the last command on this machine failed. The next command that succeeds removes it. */
export type FailureRecord = {
  readonly at: string;
  readonly step: string;
  readonly code: string;
  readonly message: string;
};

/** A machine in memory. `record-format.ts` converts it to and from the record on the disk. */
export type Machine = {
  readonly version: 1;
  readonly spec: MachineSpec;
  readonly failure?: FailureRecord;
  /** When the machine ends by itself (ISO 8601). A `create` that continues an interrupted creation sets it again. */
  readonly deadline?: string;
  /** What the provider does when the machine shuts itself down; absent if no command has set it. */
  readonly onShutdown?: ShutdownBehavior;
  /** The deadline changed while the host was stopped: the next `start` updates the timers on the host. */
  readonly deadlinePending?: true;
  /** `apply` changed options that take effect at a start, and was interrupted before it restarted the machine. */
  readonly pendingRestart?: true;
  /** The provider's name for a resource that another tool created, until Slipway has tagged the resource. */
  readonly adoptedResource?: string;
} & (
  | { readonly phase: 'creating'; readonly lastRequest?: LastRequest; readonly host?: never; readonly endpoint?: never }
  | { readonly phase: 'created'; readonly host: Host; readonly endpoint?: never }
  | { readonly phase: 'ready'; readonly host: Host; readonly endpoint: Endpoint }
);
export type CreatingMachine = Extract<Machine, { readonly phase: 'creating' }>;
export type CreatedMachine = Extract<Machine, { readonly phase: 'created' }>;
export type ReadyMachine = Extract<Machine, { readonly phase: 'ready' }>;

/** The three PEM texts that a client needs to connect to an engine. */
export type ClientCertificates = { readonly ca: string; readonly cert: string; readonly key: string };

const NAME_PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}$/;

/** Returns whether a name is valid. A valid name is never a path, a flag, or a word that a shell interprets. */
export function isMachineName(name: string): boolean {
  return NAME_PATTERN.test(name);
}

/** Returns whether Windows takes a folder of this name for a device, or drops the dot at its end. */
export function isWindowsDeviceName(name: string): boolean {
  return /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)|\.$/i.test(name);
}

/**
 * Sorts names as people do: numbers by value, upper-case letters next to lower-case ones. For the characters that are
 * valid in names, an Intl.Collator would return the same, but creating one takes a third of Node's start-up time.
 */
export function sortNames(names: readonly string[]): readonly string[] {
  const keys = names.map((name) => `${alphabeticKey(name)}\0${caseKey(name)}\0${name}`);
  return keys.toSorted().map((key) => key.slice(key.lastIndexOf('\0') + 1));
}

/** Returns a key that sorts in the order `-`, `.`, numbers, letters; a number with more digits is greater. */
function alphabeticKey(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/0*(\d+)/g, (_, digits: string) => `0${String.fromCharCode(digits.length)}${digits}`);
}

/** Returns a key that sorts the lower-case letter first. It omits numbers, which the alphabetic key compares. */
function caseKey(name: string): string {
  return name.replaceAll(/\d+|[a-z]+|[A-Z]+/g, (run) =>
    /\d/.test(run) ? '' : run === run.toLowerCase() ? run.toUpperCase() : run.toLowerCase(),
  );
}

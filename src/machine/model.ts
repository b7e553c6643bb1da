/**
 * The nouns, in the order in which they come to be. `lifecycle/` tells the story that connects them:
 *
 *   flags / env / wizard -> MachineSpec -> driver.create -> Host -> Plan -> one SSH connection -> Endpoint -> profiles
 */

/** What the user asked of the engine. Declared, with flags and questions, in `spec.ts`. */
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

/** When a machine is to end or stop without anybody's doing, as the user wrote it: `90m`, `4h`, `2d`. Declared in `spec.ts`. */
export type LifetimeSpec = { readonly ttl?: string | undefined; readonly idleStop?: string | undefined };

/** What becomes of a machine that shuts itself down. */
export type ShutdownBehavior = 'removed' | 'stopped';

/** Stage 1: everything the user decided. Once a spec exists, nothing asks a question again. */
export type MachineSpec = {
  /** Random; marks whatever belongs to this machine: cloud resources, docker contexts, files on the host. */
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  /** Parsed by that driver's schema. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly engine: EngineSpec;
  readonly profiles: readonly string[];
  /** Absent where neither was asked for. */
  readonly lifetime?: LifetimeSpec;
  readonly batch?: Batch;
  /** The options as the user gave them, of a driver that settles what is left open: so that a file can be held against them. */
  readonly userOptions?: Readonly<Record<string, unknown>>;
  /** By which mark the file knows it that it was made of (`apply`); absent for all others, which no --prune removes. */
  readonly fleet?: string;
};

/** Machines that were asked for by one bulk call share an id on the provider's side. `index` counts from 0. */
export type Batch = { readonly id: string; readonly index: number; readonly size: number };

/** What a create asked a provider for last, and when (ISO 8601). */
export type LastRequest = { readonly what: string; readonly at: string };

/** One hop of an SSH route. */
export type SshHop = {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  /** The pinned key as it stands in a known_hosts file: `ssh-ed25519 AAAA…`. Absent until first seen. */
  readonly hostKey?: string;
  /** A fingerprint (`SHA256:…`) or public key that the user gave to check the first meeting against. */
  readonly expectedKey?: string;
  /** The key that it was born with, which others may have read: good until the pinned one has replaced it. */
  readonly bootstrapHostKey?: string;
};

export type SshTarget = SshHop & {
  /** Path of a private key. Without it: the agent, then the usual files in ~/.ssh. */
  readonly keyFile?: string;
  readonly jump?: SshHop;
};

/** An engine that exists before we come: its URL, and where its client certificates lie. */
export type ExistingEngine = {
  readonly url: string;
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
};

/** Stage 2: where the machine is. Exactly one of `ssh` (we provision it) and `engine` (somebody else did) is there. */
export type Host =
  | {
      readonly address: string;
      readonly ssh: SshTarget;
      /** Where clients reach the engine, if not at the port on which it listens: a port forwarded to it. */
      readonly enginePort?: number;
      readonly engine?: never;
    }
  | { readonly address: string; readonly engine: ExistingEngine; readonly ssh?: never };

/** Stage 3: an engine that answers. The certificates lie in the store (`store.paths(name)`), never in the record. */
export type Endpoint = { readonly url: string; readonly tls: boolean };

/** Why the last run on this machine stopped; gone as soon as a run succeeds. */
export type FailureRecord = {
  readonly at: string;
  readonly step: string;
  readonly code: string;
  readonly message: string;
};

/** What the store keeps: one file, one phase; the later fields exist only in the later phases. */
export type Machine = {
  readonly version: 1;
  readonly spec: MachineSpec;
  readonly failure?: FailureRecord;
  /** When it ends by itself (ISO 8601); counted anew by each create that has not finished. */
  readonly deadline?: string;
  /** What its provider was asked to do with it when it shuts itself down; absent where no deadline was ever asked for. */
  readonly onShutdown?: ShutdownBehavior;
  /** Its host was stopped when its deadline was moved, and has not heard of it: the next start tells it. */
  readonly deadlinePending?: true;
  /** It has options that it takes when it starts, and is to be stopped and started for them: what `apply` began. */
  readonly pendingRestart?: true;
  /** What exists of it at its provider, by the provider's own name, and does not carry our marks yet: another tool made it. */
  readonly adoptedResource?: string;
} & (
  | { readonly phase: 'creating'; readonly lastRequest?: LastRequest; readonly host?: never; readonly endpoint?: never }
  | { readonly phase: 'created'; readonly host: Host; readonly endpoint?: never }
  | { readonly phase: 'ready'; readonly host: Host; readonly endpoint: Endpoint }
);
export type CreatedMachine = Extract<Machine, { readonly phase: 'created' }>;
export type ReadyMachine = Extract<Machine, { readonly phase: 'ready' }>;

/** The three PEM texts with which a client reaches an engine. */
export type ClientCertificates = { readonly ca: string; readonly cert: string; readonly key: string };

const NAME_PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}$/;

/** Also what keeps a name from being a path, a flag or a word that a shell reads. */
export function isMachineName(name: string): boolean {
  return NAME_PATTERN.test(name);
}

/**
 * As people sort: numbers by their value, small letters beside great ones. Of the characters that a name may have it is what a
 * collator does, whose making alone takes a third of what Node takes to start.
 */
export function sortNames(names: readonly string[]): readonly string[] {
  const keys = names.map((name) => `${alphabeticKey(name)}\0${caseKey(name)}\0${name}`);
  return keys.toSorted().map((key) => key.slice(key.lastIndexOf('\0') + 1));
}

/** `-`, `.`, numbers, letters; a number of more digits is greater. */
function alphabeticKey(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/0*(\d+)/g, (_, digits: string) => `0${String.fromCharCode(digits.length)}${digits}`);
}

/** The small letter is first, where nothing else differs. */
function caseKey(name: string): string {
  return name.replaceAll(/\d+|[a-z]+|[A-Z]+/g, (run) =>
    /\d/.test(run) ? '' : run === run.toLowerCase() ? run.toUpperCase() : run.toLowerCase(),
  );
}

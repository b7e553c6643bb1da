import type { z } from 'zod';
import type { Computer } from '../computer/computer.ts';
import type { Forwarder } from '../machine/forward.ts';
import type { LastRequest, Batch, ShutdownBehavior, Host, LifetimeSpec } from '../machine/model.ts';
import type { Program } from '../computer/programs.ts';
import type { Log, Progress } from '../progress.ts';

/*
 * A driver knows one provider, and nothing about Docker. It has two parts:
 *
 * - The manifest declares what needs no request to the provider: names, options, and when a changed option takes
 *   effect. Every command loads it, so it imports nothing but declarations, and all its functions are pure.
 * - The code creates, inspects and removes machines. `loadDriver` loads it when a command uses a machine of the driver.
 *
 * Both parts depend on the driver's kind: `existing` connects to what the user already has, `local` creates machines on
 * this computer, and `cloud` creates them at a provider with accounts, user data and a firewall. The types require each
 * kind to have every member that it needs.
 */

// --- what a driver is called with ------------------------------------------------------------------------------------

/** Everything that identifies a machine. A driver keeps no other state: it finds the machine's resources by `id`. */
export type Target<O> = {
  readonly id: string;
  readonly name: string;
  readonly options: O;
  /** The batch that created this machine: resources carry the batch's id, and the machine is number `index` in it. */
  readonly batch?: Batch;
  /** The last request of an unfinished create: the resource may exist although the provider does not show it yet. */
  readonly lastRequest?: LastRequest;
  /** When the machine ends or stops by itself, as the user requested when creating it. */
  readonly lifetime?: LifetimeSpec;
  /**
   * What `shutdownBehavior` returned before the creation, which the user has seen: `create` requests exactly this from
   * the provider.
   */
  readonly onShutdown?: ShutdownBehavior;
  /** A resource of this machine that does not carry its id yet (`Machine.adoptedResource`). */
  readonly adoptedResource?: string;
  /** The port that the engine listens on, which a firewall has to allow. */
  readonly enginePort?: number;
  /** The host that the record has, with the provider's name for the instance: for `describeLeftovers`. */
  readonly host?: Pick<Host, 'address'> & { readonly instance?: string };
};

/** What every call of a driver gets: where it runs, where its output goes, and when to stop. */
export type DriverCall = {
  readonly computer: Computer;
  readonly log: Log;
  /** Shows long work as a step of its own. Without it, the work's title is a log line of the current step. */
  readonly step?: Progress['step'];
  /** Shows the user a note, even where log lines are hidden. */
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
};

/** What every call that creates resources gets. */
export type CreateCall = DriverCall & {
  /**
   * Records the request that the driver is about to send, and resolves once the record is on the disk. The driver
   * awaits this before each request that creates a resource, so that after a kill the next command knows what to look
   * for.
   */
  readonly recordRequest: (what: string) => Promise<void>;
  /**
   * Removes the recorded request, once nothing exists that it or an earlier one created: the provider refused it, and
   * the driver has deleted what it created before. The machine may then be created with other options, and `remove`
   * waits for nothing.
   */
  readonly clearRequest: () => Promise<void>;
};

/**
 * What a machine contains before its first start, so that no service has to start twice. Where others can read it on
 * its way to the machine (`userDataIsPublic`), `files` contains only the timers with which the machine ends or stops by
 * itself, and the host key is the bootstrap host key, which the first connection replaces.
 */
export type FirstBootConfig = {
  /** A line of authorized_keys, for the user that the driver logs in. */
  readonly authorizedKey: string;
  /** The private key in OpenSSH's own format; the public one as `type base64`, pinned from the first packet on. */
  readonly hostKey: { readonly private: string; readonly public: string };
  /** The port that the engine listens on inside the machine, for drivers that forward a port to it. */
  readonly enginePort: number;
  /** Files that root owns, at absolute paths. `mode` is in octal digits. */
  readonly files: readonly {
    readonly path: string;
    readonly mode: string;
    readonly content: string;
    /** The file takes effect without a restart of any service. */
    readonly live?: true;
  }[];
  /**
   * Shell commands that root runs once after `files` are written, if the machine writes them while it boots. Not needed
   * if the files are in place before it boots.
   */
  readonly commands?: readonly string[];
};

// --- what a driver returns -------------------------------------------------------------------------------------------

export type InstanceStatus =
  /** The machine does not exist. `reason` says why, if the provider itself has ended it. */
  | { readonly state: 'missing'; readonly reason?: string }
  | { readonly state: 'pending' }
  | { readonly state: 'running'; readonly host: Host }
  /** The machine exists and could continue, but something at the provider blocks it: `reason` says what. */
  | { readonly state: 'paused'; readonly reason: string }
  /** `suspended`: the provider keeps the machine's memory, and `start` resumes it. */
  | { readonly state: 'stopped'; readonly suspended?: true };

export type CreateResult = {
  /** Whether the machine starts with the configuration of this call, not with that of an earlier one. */
  readonly bootApplied: boolean;
  /** The machine started earlier and only resumes: its engine may answer before `waitUntilBooted` returns. */
  readonly resumed?: true;
};

/** Whether a driver can work on this computer, and what would fix it. */
export type DriverHealth =
  { readonly usable: true } | { readonly usable: false; readonly reason: string; readonly fix: string };

/** One line that a driver adds to `doctor`: something besides programs that it needs, or a fact worth knowing. */
export type Diagnostic = {
  readonly what: string;
  readonly state: 'ok' | 'missing' | 'note';
  readonly detail: string;
};

/** A value that the wizard offers for an option. */
export type OptionChoice = {
  readonly value: string;
  /** What distinguishes it from the others: `2 vCPU, 2 GiB, about $15 a month`. */
  readonly note: string;
  /** The settings of this computer name this value: the wizard offers it first, even before the option's default. */
  readonly isConfigured?: true;
  /** Values of other options that come with it, such as the user of a host from ~/.ssh/config. */
  readonly sets?: Readonly<Record<string, unknown>>;
};

/** When a changed option takes effect on an existing machine: at once, at its next start, or only on a new machine. */
export type OptionChange = 'live' | 'restart' | 'replace';

/** A resource that Slipway created at a provider, as `gc` lists it. */
export type CloudResource = {
  /** The id that the resource carries: a machine's, or a batch's. */
  readonly id: string;
  /** The place in the batch, where a bulk call created the resource. */
  readonly index: number | undefined;
  /** The name of the machine that the resource was created for, and the id of the store that knew the machine. */
  readonly name: string;
  readonly home: string;
  readonly kind: 'instance' | 'disk' | 'firewall' | 'address' | 'spot request' | 'network interface';
  /** The provider's own name for the resource, and its region or zone. */
  readonly resource: string;
  readonly place: string;
  readonly state: string;
  readonly createdAt: Date | undefined;
  /**
   * US dollars a month at list price in its present state (a stopped machine costs its disk); undefined where unknown.
   */
  readonly monthly: number | undefined;
};

/** What a machine may have left at a provider that could not be asked, in words for the user. */
export type Leftovers = {
  /** The resources, with the provider's names: `the instance i-0123 (203.0.113.7) with its disk, in eu-central-1`. */
  readonly resources: string;
  /** How to look for them: `Open https://… or run: aws …`. */
  readonly search: string;
  /** The command that finds and deletes them once the provider answers again: `slipway gc --driver ec2`. */
  readonly command: string;
};

/** A spare that is ready for a create to take, as `image ls` lists it. */
export type SpareSummary = {
  readonly id: string;
  /** The digest of its image. */
  readonly image: string;
  /** Bytes on the disk. */
  readonly bytes: number;
  /** When the spare was created (ISO 8601). The keys are those of `image ls --json`, which never change. */
  readonly made: string;
  readonly cpus: number;
  /** MB, and GB. */
  readonly memory: number;
  readonly disk: number;
};

// --- the manifest ----------------------------------------------------------------------------------------------------

/** What drivers of every kind declare. */
type DeclarationBase<S extends z.ZodObject> = {
  readonly name: string;
  /** Further names that users may type. */
  readonly aliases?: readonly string[];
  /** One line for `slipway drivers` and the wizard: `an instance of Amazon EC2`. */
  readonly summary: string;
  /**
   * Ranks the drivers for a `create` that names none: it uses the usable driver with the highest priority. A driver
   * without a priority is used only by name.
   */
  readonly priority?: number;
  /** Flags, environment variables, questions of the wizard and tables of the docs all come from this schema. */
  readonly options: S;
  /**
   * Defaults that options had in earlier versions and the driver now decides itself: a machine of such a version whose
   * user leaves the option open keeps its value.
   */
  readonly formerDefaults?: Readonly<Partial<Record<keyof z.output<S> & string, unknown>>>;
  /**
   * Returns whether the driver can work on this computer; without it, the driver works on any. It is part of the
   * manifest so that `slipway drivers` loads no driver's code. Quick, needs no options, and changes nothing.
   */
  checkHealth?(computer: Computer): Promise<DriverHealth>;
  /**
   * The programs of this computer that a machine with these options needs; without options, those of a usual machine.
   * Slipway finds and installs them, so `checkHealth` does not look for them.
   */
  programs?(computer: Computer, options?: Readonly<Record<string, unknown>>): readonly Program[];
  /** What `remove` keeps, as a sentence for the user; undefined if nothing remains. */
  readonly retainedOnRemove?: string;
  /** Returns when a changed option takes effect on a machine. Without it, every change needs a new machine. */
  changeKindOf?(option: keyof z.output<S> & string, from: unknown, to: unknown): OptionChange;
  /**
   * Returns what happens when a machine powers itself off. `byItself`: the provider removes it, if `create` requests
   * that, or it stops. `costs` is what the user still pays for a stopped machine, as the end of a sentence:
   * `its disk costs about $1.60 a month`. A driver omits this function if Slipway runs nothing on the host; its
   * machines then have no lifetime.
   */
  shutdownBehavior?(target: Target<z.output<S>>): { readonly byItself: ShutdownBehavior; readonly costs: string };
};

type ExistingDeclaration<S extends z.ZodObject> = DeclarationBase<S> &
  Absent<'userDataIsPublic' | 'account'> & { readonly kind: 'existing' };

type LocalDeclaration<S extends z.ZodObject> = DeclarationBase<S> &
  Absent<'userDataIsPublic' | 'account'> & { readonly kind: 'local' };

type CloudDeclaration<S extends z.ZodObject> = DeclarationBase<S> & {
  readonly kind: 'cloud';
  /** Whether others can read the first-boot configuration on its way to the machine, as with a cloud's user data. */
  readonly userDataIsPublic: boolean;
  readonly account: {
    /**
     * The options that choose the account and its endpoint: `gc` queries each combination that a machine was created
     * with.
     */
    readonly options: readonly (keyof z.output<S> & string)[];
    /**
     * Credentials that the provider's own libraries read from the environment, accepted as flags because scripts for
     * docker-machine pass them that way. They apply to one run, and Slipway never stores them.
     */
    readonly credentials?: z.ZodObject;
    /** The option that chooses credentials stored on this computer; credentials from flags override it. */
    readonly credentialsOption?: keyof z.output<S> & string;
  };
};

/** Loads the code: `load: () => import('./driver.ts')`. */
type Loadable<Code> = { load(): Promise<{ readonly driver: Code }> };

export type ExistingManifest<S extends z.ZodObject = z.ZodObject> = ExistingDeclaration<S> &
  Loadable<ExistingDriverCode<z.output<S>>>;
export type LocalManifest<S extends z.ZodObject = z.ZodObject> = LocalDeclaration<S> &
  Loadable<LocalDriverCode<z.output<S>>>;
export type CloudManifest<S extends z.ZodObject = z.ZodObject> = CloudDeclaration<S> &
  Loadable<CloudDriverCode<z.output<S>>>;

export type DriverManifest<S extends z.ZodObject = z.ZodObject> =
  ExistingManifest<S> | LocalManifest<S> | CloudManifest<S>;

// --- the code --------------------------------------------------------------------------------------------------------

/**
 * The machines of a driver. For a new machine Slipway calls `validate`, `cloud.resolveOptions`, `prepare`, `create` and
 * `waitUntilBooted` in this order, then `inspect` every second until it answers `running`. All but `validate`,
 * `resolveOptions`, `prepare` and `inspect` run under the machine's lock: one process at a time calls them for one
 * machine.
 */
export type Machines<O> = {
  /**
   * Refuses mistakes before anything exists or costs money: missing files, options that exclude each other. Changes
   * nothing.
   */
  validate?(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Returns what the provider shows now. Called often and at any time, also while another process creates or removes
   * the machine; changes nothing and waits for nothing. A machine that was never created is `missing`.
   */
  inspect(target: Target<O>, call: DriverCall): Promise<InstanceStatus>;
};

/** The machines of a driver that creates them. Every resource carries the machine's id from its creation on. */
export type CreatableMachines<O> = Machines<O> & {
  /**
   * Fetches what machines share and none owns, such as an image. May take long: it is called before the machine has a
   * record.
   */
  prepare?(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Requests the machine and returns; the caller waits for it. Also called after an earlier create was killed between
   * any two of its requests: it keeps what exists, creates what is missing, and never creates a second machine.
   */
  create(target: Target<O>, boot: FirstBootConfig, call: CreateCall): Promise<CreateResult>;
  /** Waits until the machine itself reports that it has started, and rejects with BOOT_FAILED if it can't start. */
  waitUntilBooted?(target: Target<O>, call: DriverCall): Promise<void>;
  /** Removes every resource with this id, however incomplete the machine is. Does nothing if there is none. */
  remove(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Updates the driver's own files of a machine whose record has moved into the store of this call
   * (`Computer.storeHome`).
   */
  onImported?(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Returns the ids of the machines with this name that exist on this computer, so that `rm --force` finds a machine
   * whose record is lost. Sends no request to a provider.
   */
  findIdsByName?(name: string, call: DriverCall): Promise<readonly string[]>;
};

/** Starts and stops machines. Each call does nothing if the machine is in that state already. */
export type Power<O> = {
  /** Starts a machine that is stopped or suspended, and returns before it has booted. Addresses may change. */
  start(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Shuts the machine down as its power button would, and turns it off if that takes longer than these seconds. With
   * `restarts`, also shuts down a machine that is suspended, because it has to boot afterwards.
   */
  stop(
    target: Target<O>,
    how: { readonly seconds: number; readonly restarts?: boolean },
    call: DriverCall,
  ): Promise<void>;
  /** Turns the machine off at once. */
  kill(target: Target<O>, call: DriverCall): Promise<void>;
  /** Saves the machine's memory and turns it off: `start` resumes it where it was. */
  suspend?(target: Target<O>, call: DriverCall): Promise<void>;
};

/** What a driver needs for a provider with accounts, a firewall and prices. Only `adopt` is optional. */
export type Cloud<O> = {
  /**
   * Decides what the user left open: region, zone, account, image, user. Asks the provider and creates nothing. The
   * record keeps the options that it returns, so that no later command decides otherwise. Called again for an
   * incomplete machine, with the options that the first call returned: then it returns them unchanged.
   */
  resolveOptions(target: Target<O>, call: DriverCall): Promise<O>;
  /**
   * Creates all machines of a batch (`target.batch`) with one request to the provider: all or none. Called again under
   * the same rule as `create`, with the same targets.
   */
  createMany(targets: readonly Target<O>[], boot: FirstBootConfig, call: CreateCall): Promise<void>;
  /**
   * Allows the current address of this computer in the machine's firewall, and no longer the addresses that this store
   * allowed before. Leaves rules of others alone. Does nothing if the firewall is in that state already.
   */
  allowCallerIp(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Returns what may exist at the provider for this machine, and how to look for it without Slipway. Answers from the
   * target alone, and never throws: `rm --force` shows it where the provider can't be asked.
   */
  describeLeftovers(target: Target<O>): Leftovers;
  /** Returns the resources that one store of machines created, or all stores where `home` is undefined. */
  listResources(
    where: { readonly options: O; readonly home: string | undefined },
    call: DriverCall,
  ): Promise<readonly CloudResource[]>;
  /** Deletes these resources and no others. Skips those that are gone. */
  deleteResources(resources: readonly CloudResource[], options: O, call: DriverCall): Promise<void>;
  /**
   * Tags the resources that another tool created for this machine, so that from then on Slipway finds them by the id.
   * Skips those that are tagged or gone, and refuses those of another machine. Returns the options for the record.
   * `resource` is `Machine.adoptedResource`.
   */
  adopt?(target: Target<O>, resource: string, call: DriverCall): Promise<O>;
};

/** Changes options of an existing machine. */
export type Changes<O> = {
  /**
   * Refuses an impossible change: another architecture, a type that does not exist. Called before Slipway records,
   * applies or stops anything for the change; asks the provider and changes nothing.
   */
  validate?(target: Target<O>, before: O, call: DriverCall): Promise<void>;
  /** Applies options that change `live` to the provider's resources. Omitted if such options affect only Slipway. */
  apply?(target: Target<O>, before: O, call: DriverCall): Promise<void>;
  /**
   * Changes what happens when an existing machine powers itself off, to what `shutdownBehavior` returns for a changed
   * lifetime. Omitted if that never differs between the machines of this driver.
   */
  setShutdownBehavior?(target: Target<O>, behavior: ShutdownBehavior, call: DriverCall): Promise<void>;
};

/** What the user sees before a machine is created. */
export type Cost<O> = {
  /** Names what `create` will create: `one instance with its disk, and a security group of its own`. */
  describeResources(options: O): string;
  /**
   * Returns US dollars a month at list price for a machine that always runs; undefined where the price is not known.
   */
  monthly?(options: O): Promise<number | undefined>;
  /** Names what the machine's use may cost on top of `monthly`, for a sentence; undefined if there is nothing. */
  describeSurcharge?(options: O): string | undefined;
};

/**
 * Values that the wizard offers, by option. Each function returns them best first, and an empty list if there are
 * none. It asks the provider or this computer, and changes nothing; `answers` are those so far. If it rejects, the user
 * types the value.
 */
export type Prompts<O> = {
  readonly [Option in keyof O & string]?: (
    answers: Readonly<Record<string, unknown>>,
    call: DriverCall,
  ) => Promise<readonly OptionChoice[]>;
};

/**
 * Spares: machines that a driver starts ahead and suspends, each with its own keys and certificates, for one create
 * each.
 */
export type WarmPool<O> = {
  /**
   * Assigns a ready spare to this target permanently; `create` resumes it. Returns the data saved with the spare, and
   * again on each retry until `create` ends; undefined where no spare is ready, or the target wants none.
   */
  take(target: Target<O>, call: DriverCall): Promise<string | undefined>;
  /** Builds a spare for machines of this target's kind. `secrets` is the data that `take` returns. */
  make(target: Target<O>, boot: FirstBootConfig, secrets: string, call: DriverCall): Promise<void>;
  /** Counts the spares that are ready for such a target. */
  countReady(target: Target<O>, call: DriverCall): Promise<number>;
  /** Returns why no spare can be built now; undefined where one can. */
  findObstacle(target: Target<O>, call: DriverCall): Promise<string | undefined>;
  /** Returns whether the machine that was just created should leave a spare behind. Quick. */
  isWanted(target: Target<O>, call: DriverCall): Promise<boolean>;
  /** Waits for the lock that a builder of spares holds. */
  lock(call: DriverCall): Promise<AsyncDisposable>;
  list(computer: Computer): Promise<readonly SpareSummary[]>;
  /**
   * Removes the spares of an image, by its digest or the beginning of it, or all spares; also those that are being
   * built.
   */
  prune(image: string | undefined, call: DriverCall): Promise<readonly SpareSummary[]>;
};

/** What the code of a driver of every kind may have. */
type DriverCodeBase<O> = {
  /** Adds lines to `doctor`. Called only if the driver's programs are installed; may take a second. */
  diagnose?(computer: Computer): Promise<readonly Diagnostic[]>;
  readonly power?: Power<O>;
  readonly changes?: Changes<O>;
  readonly prompts?: Prompts<O>;
  readonly warmPool?: WarmPool<O>;
};

export type ExistingDriverCode<O> = DriverCodeBase<O> & {
  readonly machines: Machines<O> & Absent<Exclude<keyof CreatableMachines<O>, keyof Machines<O>>>;
} & Absent<'cost' | 'cloud' | 'openForwarder'>;

export type LocalDriverCode<O> = DriverCodeBase<O> & {
  readonly machines: CreatableMachines<O>;
  readonly cost: Cost<O>;
  /**
   * Opens the driver's own way to forward ports of a machine to this computer. Forwards that its forwarder refuses, and
   * all forwards of a driver that omits this function, are forwarded over SSH.
   */
  openForwarder?(target: Target<O>, call: DriverCall): Promise<Forwarder>;
} & Absent<'cloud'>;

export type CloudDriverCode<O> = DriverCodeBase<O> & {
  readonly machines: CreatableMachines<O>;
  readonly cost: Cost<O>;
  readonly cloud: Cloud<O>;
} & Absent<'openForwarder'>;

/** A driver that is loaded: its manifest and its code. */
export type Driver<S extends z.ZodObject = z.ZodObject> = ExistingDriver<S> | LocalDriver<S> | CloudDriver<S>;
export type ExistingDriver<S extends z.ZodObject = z.ZodObject> = ExistingManifest<S> & ExistingDriverCode<z.output<S>>;
export type LocalDriver<S extends z.ZodObject = z.ZodObject> = LocalManifest<S> & LocalDriverCode<z.output<S>>;
export type CloudDriver<S extends z.ZodObject = z.ZodObject> = CloudManifest<S> & CloudDriverCode<z.output<S>>;

/** Returns the manifest as it is, with the types of its functions inferred from its own options. */
export const defineManifest = <S extends z.ZodObject>(manifest: DriverManifest<S>): DriverManifest<S> => manifest;

/** Combines a manifest and code that are in the same file. */
export function defineDriver<S extends z.ZodObject>(
  driver:
    | (ExistingDeclaration<S> & ExistingDriverCode<z.output<S>>)
    | (LocalDeclaration<S> & LocalDriverCode<z.output<S>>)
    | (CloudDeclaration<S> & CloudDriverCode<z.output<S>>),
): Driver<S> {
  // The code is loaded with the manifest. Both have the same kind, which no type can follow through a spread.
  const loaded = { ...driver, load: async () => ({ driver: loaded }) } as unknown as Driver<S>;
  return loaded;
}

/** Loads the code of a driver that is given by its manifest. */
export async function loadCode(manifest: DriverManifest): Promise<Driver> {
  const { driver } = await manifest.load();
  // `load` of each kind returns the code of that kind.
  return { ...manifest, ...driver } as Driver;
}

/** Members that a kind never has, declared so that callers can read them from a driver of any kind. */
type Absent<Member extends PropertyKey> = { readonly [Name in Member]?: undefined };

import type { z } from 'zod';
import type { Computer } from '../computer/computer.ts';
import type { LastRequest, Batch, ShutdownBehavior, Host, LifetimeSpec } from '../machine/model.ts';
import type { Program } from '../computer/programs.ts';
import type { Log, Progress } from '../progress.ts';

/*
 * A driver knows one provider and nothing of Docker. It has two parts:
 *
 * - The manifest declares what is known without asking anybody: names, options, what an option's change takes. Every
 *   command reads
 *   it, so it imports nothing but declarations, and all its functions are pure.
 * - The code acts. `loadDriver` reads it when a machine of the driver is used.
 *
 * Both parts depend on the driver's kind: `existing` connects to what the user already has, `local` creates machines on
 * this computer, and `cloud` creates them at a provider with accounts, user data and a firewall. The types demand of
 * each kind all that it needs.
 */

// --- what a driver is called with ------------------------------------------------------------------------------------

/** The whole identity of a machine. A driver keeps no other state: it finds the machine's resources by `id`. */
export type Target<O> = {
  readonly id: string;
  readonly name: string;
  readonly options: O;
  /**
   * The bulk call that created this machine: its resources carry the batch's id, and the machine is number `index` of
   * it.
   */
  readonly batch?: Batch;
  /** The last request of its unfinished create: the resource may exist although the provider does not show it yet. */
  readonly lastRequest?: LastRequest;
  /** When the machine ends or stops by itself, as the user asked at its creation. */
  readonly lifetime?: LifetimeSpec;
  /**
   * What `shutdownBehavior` answered before the creation and the user was told: `create` asks the provider for exactly
   * this.
   */
  readonly onShutdown?: ShutdownBehavior;
  /** A resource of this machine that does not carry its id yet (`Machine.adoptedResource`). */
  readonly adoptedResource?: string;
};

/** What every call gets: where it runs, where its output goes, and when to stop. */
export type DriverCall = {
  readonly computer: Computer;
  readonly log: Log;
  /**
   * Shows work that takes long enough to be seen by itself. Without it, the work's title is a line of the step at hand.
   */
  readonly step?: Progress['step'];
  /** Tells the user a fact that must be seen, also where log lines are not shown. */
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
};

/** What a call that creates something gets besides. */
export type CreateCall = DriverCall & {
  /**
   * Records what the driver is about to ask of the provider, and resolves when that is on the disk. The driver awaits
   * it before each call that creates something, so that a create that is killed in between knows what to look for.
   */
  readonly recordRequest: (what: string) => Promise<void>;
};

/**
 * What a machine holds before its first start, so that nothing in it has to start twice. Where others can read it on
 * its way (`userDataIsPublic`), `files` is empty and the host key is the bootstrap host key, which the first connection
 * replaces.
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
    /** The file takes effect without a restart of anything. */
    readonly live?: true;
  }[];
};

// --- what a driver answers -------------------------------------------------------------------------------------------

export type InstanceStatus =
  | { readonly state: 'missing' }
  | { readonly state: 'pending' }
  | { readonly state: 'running'; readonly host: Host }
  /** The machine exists and could continue, but something on the provider's side holds it up: `reason` says what. */
  | { readonly state: 'paused'; readonly reason: string }
  /** `suspended`: the provider keeps the machine's memory, and `start` resumes it. */
  | { readonly state: 'stopped'; readonly suspended?: true };

export type CreateResult = {
  /** Whether the machine starts with the very configuration of this call, and not with that of an earlier one. */
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

/** A value that an option may have here and now. */
export type OptionChoice = {
  readonly value: string;
  /** What distinguishes it from the others: `2 vCPU, 2 GiB, about $15 a month`. */
  readonly note: string;
  /** Answers to other options that come with it, such as the user of a host from ~/.ssh/config. */
  readonly sets?: Readonly<Record<string, unknown>>;
};

/** How an option changes on a machine that exists: at once, at its next start, or with another machine only. */
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
  readonly made: Date | undefined;
  /**
   * US dollars a month at list price in its present state (a stopped machine costs its disk); undefined where unknown.
   */
  readonly monthly: number | undefined;
};

/** A spare that is ready for a create to take, as `image ls` lists it. */
export type SpareSummary = {
  readonly id: string;
  /** The digest of its image. */
  readonly image: string;
  /** Bytes on the disk. */
  readonly bytes: number;
  /** ISO 8601. */
  readonly made: string;
  readonly cpus: number;
  /** MB, and GB. */
  readonly memory: number;
  readonly disk: number;
};

// --- the manifest ----------------------------------------------------------------------------------------------------

/** What every kind declares. */
type DeclarationBase<S extends z.ZodObject> = {
  readonly name: string;
  /** Further names that users may type. */
  readonly aliases?: readonly string[];
  /** One line for `slipway drivers` and the wizard: `an instance of Amazon EC2`. */
  readonly summary: string;
  /**
   * The place of the driver where `create` is called without one: it takes the usable driver of the highest priority.
   * Drivers that are never taken without being named have none.
   */
  readonly priority?: number;
  /** Flags, environment variables, questions of the wizard and tables of the docs all come from this schema. */
  readonly options: S;
  /**
   * Says whether the driver can work on this computer; without it, the driver works on any. It is part of the manifest
   * so that `slipway drivers` loads no driver's code. Quick, needs no options, and changes nothing.
   */
  checkHealth?(computer: Computer): Promise<DriverHealth>;
  /**
   * The programs of this computer that the driver needs. Slipway finds and installs them, so `checkHealth` does not
   * look for them.
   */
  programs?(computer: Computer): readonly Program[];
  /** What `remove` leaves in place, for the user to know; absent where nothing remains. */
  readonly retainedOnRemove?: string;
  /** Says how a machine that exists gets another value of an option. Without it, every option takes another machine. */
  changeKindOf?(option: keyof z.output<S> & string, from: unknown, to: unknown): OptionChange;
  /**
   * Says what happens to a machine that powers itself off. `byItself`: the provider removes it, where `create` asks for
   * that, or it stops, and `costs` says what remains to be paid, as the end of a sentence:
   * `its disk costs about $1.60 a month`. A driver leaves it out where Slipway runs nothing on the host; its machines
   * then have no lifetime.
   */
  shutdownBehavior?(target: Target<z.output<S>>): { readonly byItself: ShutdownBehavior; readonly costs: string };
};

type ExistingDeclaration<S extends z.ZodObject> = DeclarationBase<S> &
  Absent<'userDataIsPublic' | 'account'> & { readonly kind: 'existing' };

type LocalDeclaration<S extends z.ZodObject> = DeclarationBase<S> &
  Absent<'userDataIsPublic' | 'account'> & { readonly kind: 'local' };

type CloudDeclaration<S extends z.ZodObject> = DeclarationBase<S> & {
  readonly kind: 'cloud';
  /** Whether others can read what `create` gets for the first start, as they can with a cloud's user data. */
  readonly userDataIsPublic: boolean;
  readonly account: {
    /**
     * The options that choose the account and its endpoint: `gc` asks each combination that a machine was created with.
     */
    readonly options: readonly (keyof z.output<S> & string)[];
    /**
     * Credentials that the provider's own libraries read from the environment, accepted as flags since scripts of
     * docker-machine give them so. They hold for one run, and Slipway stores them nowhere.
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
  /** Fails before anything exists or costs money: missing files, options that exclude each other. Changes nothing. */
  validate?(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Returns what the provider shows now. Called often and at any time, also while another process creates or removes
   * the machine; changes nothing and waits for nothing. A machine that was never created is `missing`.
   */
  inspect(target: Target<O>, call: DriverCall): Promise<InstanceStatus>;
};

/** The machines of a driver that creates them. What it creates carries the machine's id from the first call on. */
export type CreatableMachines<O> = Machines<O> & {
  /**
   * Fetches what machines share and none owns, such as an image. Called before the machine has a record, so it may take
   * its time.
   */
  prepare?(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Asks for the machine and returns; the caller waits. Called again after an earlier create was killed between any two
   * of its calls: it keeps what exists, creates what is missing, and never creates a second machine.
   */
  create(target: Target<O>, boot: FirstBootConfig, call: CreateCall): Promise<CreateResult>;
  /** Waits until the machine itself reports that it has started, and rejects with BOOT_FAILED where it can't. */
  waitUntilBooted?(target: Target<O>, call: DriverCall): Promise<void>;
  /** Removes all that carries this id, however little of it exists. Does nothing where nothing exists. */
  remove(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Adjusts what the driver keeps beside a machine whose record has moved into the store of this call
   * (`Computer.storeHome`).
   */
  onImported?(target: Target<O>, call: DriverCall): Promise<void>;
  /**
   * Returns the ids of what exists on this computer for a machine of this name, so that `rm --force` finds the machine
   * whose record is lost. Asks no provider.
   */
  findIdsByName?(name: string, call: DriverCall): Promise<readonly string[]>;
};

/** Power of machines that were created. Each call does nothing where the machine is in that state already. */
export type Power<O> = {
  /** Starts a machine that is stopped or suspended, and returns before it has booted. Addresses may change. */
  start(target: Target<O>, call: DriverCall): Promise<void>;
  /** Shuts the machine down as its power button would, and turns it off where it has not ended within these seconds. */
  stop(target: Target<O>, how: { readonly seconds: number }, call: DriverCall): Promise<void>;
  /** Turns the machine off at once. */
  kill(target: Target<O>, call: DriverCall): Promise<void>;
  /** Saves the machine's memory and turns it off: `start` resumes it where it was. */
  suspend?(target: Target<O>, call: DriverCall): Promise<void>;
};

/**
 * What a provider with accounts, a firewall and a price does besides. A driver of a cloud has all of it but `adopt`.
 */
export type Cloud<O> = {
  /**
   * Decides what the user left open: region, zone, account, image, user. Asks the provider and creates nothing. The
   * record keeps the options that it returns, so that no later command decides otherwise. Called again for an
   * incomplete machine, with the options that the first call returned: then it returns them unchanged.
   */
  resolveOptions(target: Target<O>, call: DriverCall): Promise<O>;
  /**
   * Creates all machines of a batch (`target.batch`) by one call of the provider's: all or none. Called again under the
   * same rule as `create`, with the same targets.
   */
  createMany(targets: readonly Target<O>[], boot: FirstBootConfig, call: CreateCall): Promise<void>;
  /**
   * Allows the present address of this computer in the machine's firewall. Does nothing where it is allowed already.
   */
  allowCallerIp(target: Target<O>, call: DriverCall): Promise<void>;
  /** Returns the resources that one store of machines created, or all stores where `home` is undefined. */
  listResources(
    where: { readonly options: O; readonly home: string | undefined },
    call: DriverCall,
  ): Promise<readonly CloudResource[]>;
  /** Deletes these resources and nothing else. Passes over those that are gone. */
  deleteResources(resources: readonly CloudResource[], options: O, call: DriverCall): Promise<void>;
  /**
   * Tags what another tool created for this machine, so that from then on everything finds it by the id. Passes over
   * what is tagged or gone, and refuses what belongs to another machine. Returns the options for the record. `resource`
   * is `Machine.adoptedResource`.
   */
  adopt?(target: Target<O>, resource: string, call: DriverCall): Promise<O>;
};

/** Changes of options on a machine that exists. */
export type Changes<O> = {
  /**
   * Refuses a change that can't be: another architecture, a type that does not exist. Called before Slipway records,
   * applies or stops anything for it; asks the provider and changes nothing.
   */
  validate?(target: Target<O>, before: O, call: DriverCall): Promise<void>;
  /** Applies the options that change `live` to what exists at the provider. Left out where they only direct Slipway. */
  apply?(target: Target<O>, before: O, call: DriverCall): Promise<void>;
};

/** What the user is told before a machine is created. */
export type Cost<O> = {
  /** Names what `create` will create: `one instance with its disk, and a security group of its own`. */
  describeResources(options: O): string;
  /**
   * Returns US dollars a month at list price for a machine that always runs; undefined where the price is not known.
   */
  monthly?(options: O): Promise<number | undefined>;
};

/**
 * Values that the wizard offers, by option. Each function returns them best first, and an empty list where there are
 * none. It asks the provider or this computer, and changes nothing; `answers` are those so far. Where it rejects, the
 * user types the value.
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
  /** Builds a spare for machines of this target's kind. `kept` is the data for `take`, and secret. */
  make(target: Target<O>, boot: FirstBootConfig, kept: string, call: DriverCall): Promise<void>;
  /** Counts the spares that are ready for such a target. */
  countReady(target: Target<O>, call: DriverCall): Promise<number>;
  /** Returns why no spare can be built now; undefined where one can. */
  findObstacle(target: Target<O>, call: DriverCall): Promise<string | undefined>;
  /** Returns whether the machine that was just created should leave a spare behind. Quick. */
  isWanted(target: Target<O>, call: DriverCall): Promise<boolean>;
  /** Waits for the lock that each builder holds. */
  lock(call: DriverCall): Promise<AsyncDisposable>;
  list(computer: Computer): Promise<readonly SpareSummary[]>;
  /**
   * Removes the spares of an image, by its digest or the beginning of it, or all spares; also those that are being
   * built.
   */
  prune(image: string | undefined, call: DriverCall): Promise<readonly SpareSummary[]>;
};

/** What the code of every kind may have. */
type DriverCodeBase<O> = {
  /** Adds lines to `doctor`. Called where the programs are installed; may take a second. */
  diagnose?(computer: Computer): Promise<readonly Diagnostic[]>;
  readonly power?: Power<O>;
  readonly changes?: Changes<O>;
  readonly prompts?: Prompts<O>;
  readonly warmPool?: WarmPool<O>;
};

export type ExistingDriverCode<O> = DriverCodeBase<O> & {
  readonly machines: Machines<O> & Absent<Exclude<keyof CreatableMachines<O>, keyof Machines<O>>>;
} & Absent<'cost' | 'cloud'>;

export type LocalDriverCode<O> = DriverCodeBase<O> & {
  readonly machines: CreatableMachines<O>;
  readonly cost: Cost<O>;
} & Absent<'cloud'>;

export type CloudDriverCode<O> = DriverCodeBase<O> & {
  readonly machines: CreatableMachines<O>;
  readonly cost: Cost<O>;
  readonly cloud: Cloud<O>;
};

/** A driver that is loaded: its manifest and its code. */
export type Driver<S extends z.ZodObject = z.ZodObject> = ExistingDriver<S> | LocalDriver<S> | CloudDriver<S>;
export type ExistingDriver<S extends z.ZodObject = z.ZodObject> = ExistingManifest<S> & ExistingDriverCode<z.output<S>>;
export type LocalDriver<S extends z.ZodObject = z.ZodObject> = LocalManifest<S> & LocalDriverCode<z.output<S>>;
export type CloudDriver<S extends z.ZodObject = z.ZodObject> = CloudManifest<S> & CloudDriverCode<z.output<S>>;

/** Returns the manifest as it is, with the types of its functions inferred from its own options. */
export const defineManifest = <S extends z.ZodObject>(manifest: DriverManifest<S>): DriverManifest<S> => manifest;

/** Joins a manifest and its code, where one file holds both. */
export function defineDriver<S extends z.ZodObject>(
  driver:
    | (ExistingDeclaration<S> & ExistingDriverCode<z.output<S>>)
    | (LocalDeclaration<S> & LocalDriverCode<z.output<S>>)
    | (CloudDeclaration<S> & CloudDriverCode<z.output<S>>),
): Driver<S> {
  // A driver of one file is loaded with its manifest; the kind of both is the same, which no type can follow through a
  // spread.
  const whole = { ...driver, load: async () => ({ driver: whole }) } as unknown as Driver<S>;
  return whole;
}

/** Loads the code of a driver that is given by its manifest. */
export async function loadCode(manifest: DriverManifest): Promise<Driver> {
  const { driver } = await manifest.load();
  // `load` of each kind returns the code of that kind.
  return { ...manifest, ...driver } as Driver;
}

/** Members that a kind never has, so that callers may ask a driver of any kind for them. */
type Absent<Member extends PropertyKey> = { readonly [Name in Member]?: undefined };

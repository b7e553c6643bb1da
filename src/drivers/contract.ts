import type { z } from 'zod';
import type { Computer } from '../computer/computer.ts';
import type { LastRequest, Batch, ShutdownBehavior, Host, LifetimeSpec } from '../machine/model.ts';
import type { Program } from '../computer/programs.ts';
import type { Log, Progress } from '../progress.ts';

/** The whole identity of a machine. A driver keeps no other state: it finds its resources by `id`. */
export type Target<O> = {
  readonly id: string;
  readonly name: string;
  readonly options: O;
  /** Of machines that one bulk call made: what the provider has carries the batch's id, and this machine is the `index`th of it. */
  readonly batch?: Batch;
  /** What its last unfinished create asked the provider for last: it may exist although the provider does not show it yet. */
  readonly lastRequest?: LastRequest;
  /** When it is to end or stop by itself, as the user asked when it was made. */
  readonly lifetime?: LifetimeSpec;
  /** What `ends` said before it was made, and what the user was told: the provider is asked for this and nothing else. */
  readonly onShutdown?: ShutdownBehavior;
  /** What exists of it and does not carry its id yet (`Machine.adopts`). */
  readonly adoptedResource?: string;
};

export type InstanceStatus =
  | { readonly state: 'missing' }
  | { readonly state: 'pending' }
  | { readonly state: 'running'; readonly host: Host }
  /** It exists and could go on, but something on the provider's side holds it up; in words. */
  | { readonly state: 'paused'; readonly reason: string }
  /** `suspended`: its memory is kept, and it goes on with it. */
  | { readonly state: 'stopped'; readonly suspended?: true };

/**
 * What a machine holds before its very first start, so that nothing in it has to be started twice. Where others can read it on
 * its way (a cloud's user data), `files` is empty and the host key is of the first visit only: see `bootIsReadable`.
 */
export type FirstBootConfig = {
  /** A line of authorized_keys, for the user that the driver logs in. */
  readonly authorizedKey: string;
  /** OpenSSH's own format, and the `type base64` that is pinned from the first packet. */
  readonly hostKey: { readonly private: string; readonly public: string };
  /** Where the engine listens in the machine, for drivers that have to lead a way to it. */
  readonly enginePort: number;
  /** Root's, at absolute paths. `mode` in octal digits. */
  readonly files: readonly {
    readonly path: string;
    readonly mode: string;
    readonly content: string;
    /** Nothing has to be started anew for what is in it. */
    readonly live?: true;
  }[];
};

/** Whether a driver can work here, and what would mend it. */
export type DriverHealth =
  { readonly usable: true } | { readonly usable: false; readonly reason: string; readonly fix: string };

/** A value that an option may have here and now. */
export type OptionChoice = {
  readonly value: string;
  /** What tells it from the others: `2 vCPU, 2 GiB, about $15 a month`. */
  readonly note: string;
  /** Answers to other options that come with it, such as the user of a host that is known by name. */
  readonly sets?: Readonly<Record<string, unknown>>;
};

/** How an option changes on a machine that exists: at once, at its next start, or by making another machine. */
export type OptionChange = 'live' | 'restart' | 'replace';

/** One line that a driver adds to `doctor`: whether there is what it needs besides programs, or a fact worth knowing. */
export type Diagnostic = {
  readonly what: string;
  readonly state: 'ok' | 'missing' | 'note';
  readonly detail: string;
};

/** Whether the machine starts with the very boot that was given, and not with that of an earlier try. */
export type CreateResult = {
  readonly bootApplied: boolean;
  /** It has started before, and only goes on: what is in it may answer while `booted` is still at work. */
  readonly resumed?: true;
};

/** What every call gets: where it runs, where its output lines go, and when to stop. */
export type DriverCall = {
  readonly computer: Computer;
  readonly log: Log;
  /** Work within the step at hand that takes long enough to be seen by itself. Without it, its title is a line of that step. */
  readonly step?: Progress['step'];
  /** A fact that the user should see, whatever becomes of the lines. */
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
};

/** Something of ours at a provider, as `gc` lists it. */
export type CloudResource = {
  /** The id that it carries: a machine's, or a batch's. */
  readonly id: string;
  /** Its place in the batch, of an instance that a bulk call made. */
  readonly index: number | undefined;
  /** The name of the machine that it was made for, and the store (home-id.ts) that knew the machine. */
  readonly name: string;
  readonly home: string;
  readonly kind: 'instance' | 'disk' | 'firewall' | 'address' | 'spot request' | 'network interface';
  /** The provider's own name for it, and the region or zone it is in. */
  readonly resource: string;
  readonly place: string;
  readonly state: string;
  readonly made: Date | undefined;
  /** US dollars a month at the provider's list price as things are (stopped ones cost their disks); undefined where that is not known. */
  readonly monthly: number | undefined;
};

/** A machine that is ready for a create to take, as it is listed. */
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

/** Machines that a driver starts ahead and suspends, each with keys and certificates of its own, for one create each. */
export type WarmPool<O> = {
  /**
   * Makes one ready one this target's, for good: `create` then goes on with it. Answers what was kept with it, also when it is asked again
   * before that `create` has ended; undefined where there is none, or none is wanted.
   */
  take(target: Target<O>, call: DriverCall): Promise<string | undefined>;
  /** Makes one for machines of this target's kind. `kept` is for who takes it, and secret. */
  make(target: Target<O>, boot: FirstBootConfig, kept: string, call: DriverCall): Promise<void>;
  /** How many are ready for such a target. */
  countReady(target: Target<O>, call: DriverCall): Promise<number>;
  /** Why none can be made now; undefined where it can. */
  findObstacle(target: Target<O>, call: DriverCall): Promise<string | undefined>;
  /** Whether one is to be left behind by the machine that was just made. Quick. */
  isWanted(target: Target<O>, call: DriverCall): Promise<boolean>;
  /** Held by who makes some. */
  lock(call: DriverCall): Promise<AsyncDisposable>;
  list(computer: Computer): Promise<readonly SpareSummary[]>;
  /** Removes those of an image, by its digest or its beginning, or all; also those that are being made. */
  prune(image: string | undefined, call: DriverCall): Promise<readonly SpareSummary[]>;
};

/** What the call that makes something gets besides. */
export type CreateCall = DriverCall & {
  /** Writes down what is about to be asked of the provider; resolves when that is on the disk. Before each call that makes something. */
  readonly recordRequest: (what: string) => Promise<void>;
};

/**
 * A driver knows a provider and nothing of Docker. `lifecycle/` calls it in this order: check, settle, prepare, create, booted,
 * then inspect until the machine runs; stop, kill and start of one that was created; remove at any time, also after a create that
 * died between two calls. But for check, settle, prepare and inspect, each is called by one
 * process at a time for one machine.
 */
export type Driver<S extends z.ZodObject = z.ZodObject> = {
  readonly name: string;
  /** Further names that it is known by. */
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** Flags, environment variables, wizard questions and the docs table all come from here. */
  readonly options: S;
  /**
   * Credentials that the provider's own chain reads from the variables named here, accepted as flags because old scripts give
   * them so. They hold for one run and are stored nowhere.
   */
  readonly credentials?: z.ZodObject;
  /** The option that chooses other credentials, which are kept on this computer: it gives way to those that are lent for a run. */
  readonly credentialsOption?: keyof z.output<S> & string;
  /** What `remove` leaves standing, for the user to know: absent when everything goes. */
  readonly retainedOnRemove?: string;
  /**
   * Local drivers by preference: `create` without a driver takes the usable one of the highest rank. Left out by drivers
   * that are never taken unasked.
   */
  readonly priority?: number;
  /** Programs of this computer that it needs; then they are no business of `health`. */
  programs?(computer: Computer): readonly Program[];
  /** Others can read what `create` is given for the first start, as a cloud's user data. */
  readonly userDataIsPublic?: boolean;
  /**
   * Options whose values the wizard lets the user choose from, best first; an empty list where there are none to tell. Asks the
   * provider or this computer, changes nothing; `given` are the answers so far. Rejects where nobody can be asked: then the user types.
   */
  readonly choices?: {
    readonly [Option in keyof z.output<S> & string]?: (
      given: Readonly<Record<string, unknown>>,
      call: DriverCall,
    ) => Promise<readonly OptionChoice[]>;
  };
  /** What `create` makes, for the user to know before: `one instance with its disk, and a security group of its own`. */
  describeResources?(options: z.output<S>): string;
  /** US dollars a month of a machine like this that runs all the time, at list price; undefined where that is not known. */
  monthlyCost?(options: z.output<S>): Promise<number | undefined>;
  /** Pure. Without it every option is of a machine's making, and another value needs another machine. */
  changeKindOf?(option: keyof z.output<S> & string, from: unknown, to: unknown): OptionChange;
  /**
   * Refuses what can't become of a machine that exists: another architecture, a type that there is not. Before anything is recorded,
   * carried over or stopped for it. Asks the provider, changes nothing.
   */
  validateChange?(target: Target<z.output<S>>, before: z.output<S>, call: DriverCall): Promise<void>;
  /** Carries what changes live over to what exists at the provider. Left out where such options direct this program alone. */
  applyChange?(target: Target<z.output<S>>, before: z.output<S>, call: DriverCall): Promise<void>;
  /**
   * Pure. What becomes of a machine that is about to be made once it shuts itself down: the provider removes it, where `create` asks
   * for that, or it stops and this is what goes on costing, as a sentence goes on: `its disk costs about $1.60 a month`. Left
   * out by drivers on whose machines nothing of ours can run: they end by nobody's doing but the user's.
   */
  shutdownBehavior?(target: Target<z.output<S>>): { readonly byItself: ShutdownBehavior; readonly costs: string };
  /**
   * Marks what another tool made for this machine, so that from then on everything finds it by the id; passes over what is marked or
   * gone. Refuses what is another machine's. The record keeps the options that it returns. `resource` is `Machine.adopts`.
   */
  adopt?(target: Target<z.output<S>>, resource: string, call: DriverCall): Promise<z.output<S>>;
  /** Quick and without side effects; needs no options. */
  health(computer: Computer): Promise<DriverHealth>;
  /** What `doctor` tells beyond that. Called when the programs are there; may take a second. */
  diagnose?(computer: Computer): Promise<readonly Diagnostic[]>;
  /** Fails before anything exists or costs money: files that are missing, credentials, quota. */
  validate?(target: Target<z.output<S>>, call: DriverCall): Promise<void>;
  /**
   * Asks the provider, before anything exists or costs money, and decides what was left open: region, zone, project, account,
   * image, user. The record keeps the options that it returns, so that no later command meets others. Called again for a half-made machine.
   */
  resolveOptions?(target: Target<z.output<S>>, call: DriverCall): Promise<z.output<S>>;
  /** Gets what machines share and none owns, such as an image. Before the machine's record exists, so it may take its time. */
  prepare?(target: Target<z.output<S>>, call: DriverCall): Promise<void>;
  /** Returns as soon as the machine is asked for; waiting is the caller's job. Finishes or passes over what exists. Left out where there is nothing to make. */
  create?(target: Target<z.output<S>>, boot: FirstBootConfig, call: CreateCall): Promise<CreateResult>;
  /** The same for all machines of a batch (`target.batch`) at once, by one call of the provider's; all or none. */
  createMany?(targets: readonly Target<z.output<S>>[], boot: FirstBootConfig, call: CreateCall): Promise<void>;
  /** Lets this computer's present address through the machine's firewall; a no-op where it is let in. */
  allowCallerIp?(target: Target<z.output<S>>, call: DriverCall): Promise<void>;
  /** Waits for the machine's own word that it has started, and rejects when it says or shows that it can't. Left out where there is none. */
  waitUntilBooted?(target: Target<z.output<S>>, call: DriverCall): Promise<void>;
  inspect(target: Target<z.output<S>>, call: DriverCall): Promise<InstanceStatus>;
  /** A no-op for one that runs. Addresses may change. */
  start?(target: Target<z.output<S>>, call: DriverCall): Promise<void>;
  /** As the machine's own shutdown would, within these seconds; what has not ended by then is ended. A no-op for one that is stopped. */
  stop?(target: Target<z.output<S>>, how: { readonly seconds: number }, call: DriverCall): Promise<void>;
  /** At once. */
  kill?(target: Target<z.output<S>>, call: DriverCall): Promise<void>;
  /** Keeps its memory and ends it: `start` goes on where it was. A no-op for one that is suspended. Left out where it can't be done. */
  suspend?(target: Target<z.output<S>>, call: DriverCall): Promise<void>;
  readonly warmPool?: WarmPool<z.output<S>>;
  /** The machine's record has come from another store into the one of this call (`Computer.records`). */
  onImported?(target: Target<z.output<S>>, call: DriverCall): Promise<void>;
  /** Ids of what it has made for a machine of this name: the way back to it when the record is lost. Quick, and local. */
  findIdsByName?(name: string, call: DriverCall): Promise<readonly string[]>;
  /** Removes whatever carries this id, however little of it exists. A no-op when nothing does. Left out by drivers that make nothing. */
  remove?(target: Target<z.output<S>>, call: DriverCall): Promise<void>;
  /** The options that say whose account is asked, and where: `gc` asks in each that a machine was made with. */
  readonly accountOptions?: readonly (keyof z.output<S> & string)[];
  /** Whatever the provider has that a store of machines made: this one's, or all stores'. Regions, project and endpoint are in the options. */
  listResources?(
    where: { readonly options: z.output<S>; readonly home: string | undefined },
    call: DriverCall,
  ): Promise<readonly CloudResource[]>;
  /** Removes these, and nothing else; passes over what is gone. */
  deleteResources?(things: readonly CloudResource[], options: z.output<S>, call: DriverCall): Promise<void>;
};

/** Exists for inference only: a driver's own calls see its own options. */
export const defineDriver = <S extends z.ZodObject>(driver: Driver<S>): Driver<S> => driver;

import type { FilePlace } from '../dockerd-flags.ts';
import type { Facts } from '../facts.ts';
import type { RemoteFile } from '../step.ts';

/** The facts about the engine's service that its command line follows from. */
export type EngineServiceFacts = Pick<Facts['engineService'], 'definition' | 'environmentFiles' | 'variables'>;

/** A word of a command line: `text` is as the service's files have it, `value` is what dockerd gets. */
export type CommandWord = { readonly text: string; readonly value: string; readonly place: FilePlace };

/** A word of the service's file. A variable stands for any number of words. */
export type CommandPart = { readonly text: string; readonly words: readonly CommandWord[] };

/** A flag of dockerd by its long name, with its words and the file that sets it. */
export type CommandFlag = {
  readonly name: string;
  readonly value: string | undefined;
  readonly words: readonly CommandWord[];
  readonly place: FilePlace;
};

/** The service's command line without Slipway's and docker-machine's files. */
export type EngineCommand = {
  readonly text: string;
  readonly place: FilePlace;
  readonly parts: readonly CommandPart[];
  readonly flags: readonly CommandFlag[];
  /** False if the line starts another program, such as a script that starts dockerd: then its flags are unknown. */
  readonly isDockerd: boolean;
};

/** The settings that the old docker-machine wrote on a host. Both lists are empty if it never provisioned the host. */
export type DockerMachineSettings = {
  /** The flags of dockerd with their values (`label=a=b`), except for those about sockets and TLS. */
  readonly flags: readonly string[];
  /** Variables as `NAME=value`. */
  readonly environment: readonly string[];
};

/** When a host ends or stops by itself, and what it needs for that without a connection. */
export type HostLifetime = {
  /** The machine's name, for the messages that the host shows before it powers off. */
  readonly name: string;
  /** ISO 8601. */
  readonly deadline: string | undefined;
  /** The host stops once it has been idle for this many seconds. */
  readonly idleSeconds: number | undefined;
  readonly enginePort: number;
  readonly scripts: LifetimeScripts;
};

/** The complete scripts that timers run on a host: they begin with the functions of the service manager. */
export type LifetimeScripts = { readonly deadline: string; readonly idle: string };

/**
 * What Slipway needs to know about a service manager, the first process of a host. All members are data or pure
 * functions; only `scripts` act.
 */
export type ServiceManager = {
  /** Also in the name of the function `facts_of_NAME` in `scripts.facts`. */
  readonly name: string;
  /** The name in sentences. */
  readonly label: string;
  /** Files of `templates/`. */
  readonly scripts: {
    /**
     * Defines `facts_of_NAME`, which prints the facts about the engine's service and adds this manager's own paths to
     * `files`.
     */
    readonly facts: string;
    /** Defines the functions that the scripts of steps call, such as `start_engine` and `reload_definitions`. */
    readonly services: string;
    /** Defines the functions that the timers' scripts call: `power_off` and `has_session`. */
    readonly host: string;
  };
  /** Returns whether the facts are those of a host with this service manager. */
  isRecognized(facts: Facts): boolean;
  /** Returns the command, for people, that ends a service for good; `isUsers` means the user's own service manager. */
  endCommandOf(service: string, isUsers: boolean): string;
  readonly engine: EngineService;
  readonly timers: LifetimeTimers;
};

/** How a service manager runs dockerd with Slipway's command line. */
export type EngineService = {
  /** All paths that the file with Slipway's command line for dockerd can have, or had in earlier versions. */
  readonly dropInPaths: readonly string[];
  /** The file in which the old docker-machine replaced the service's command line for dockerd. */
  readonly dockerMachinePath: string;
  /**
   * Returns the path of Slipway's file that the service manager applies after all others. Undefined if another file
   * would still come later.
   */
  dropInPathFor(service: EngineServiceFacts): string | undefined;
  /**
   * Returns the command line that the service has without Slipway's and docker-machine's files; a default if the
   * service does not exist yet.
   */
  commandOf(service: EngineServiceFacts): EngineCommand;
  /**
   * Returns the flag with which dockerd would refuse Slipway's daemon.json at its next start, such as one in a file
   * that was added since. Undefined if there is none, or if Slipway has no file there.
   */
  findConflictingFlag(service: EngineServiceFacts): CommandFlag | undefined;
  /**
   * Returns the masked units without which the engine can't start, and the command, for people, that unmasks them.
   * Undefined if none of those is masked.
   */
  findMasks(service: Facts['engineService']): { readonly units: readonly string[]; readonly undo: string } | undefined;
  /** Returns where the service manager is told to listen on a TCP port for the engine; undefined if it is not. */
  findSocketPlace(service: EngineServiceFacts, port: number): FilePlace | undefined;
  parseDockerMachineSettings(definition: string): DockerMachineSettings;
  /** Returns Slipway's file: the command line without the flags that move to daemon.json. */
  formatDropIn(
    command: EngineCommand,
    isMoved: (flag: CommandFlag) => boolean,
    environmentFile: string | undefined,
  ): string;
  /** Returns the content of docker-machine's file with only these variables (`NAME=value`). */
  formatEnvironmentDropIn(environment: readonly string[]): string;
  /** Formats `NAME=value` as a line of the file from which the drop-in reads variables. */
  formatEnvironmentLine(pair: string): string;
};

/** The timers with which a service manager ends a host at its deadline, or stops it when it is idle. */
export type LifetimeTimers = {
  /** The paths of all files that `filesFor` can return. */
  readonly paths: readonly string[];
  filesFor(lifetime: HostLifetime): readonly RemoteFile[];
  /** Returns the names of the timers among files of `filesFor`. */
  namesOf(paths: readonly string[]): readonly string[];
  /** The shell commands, for root, that start timers whose files have just been written on a host that boots. */
  startCommandsOf(timers: readonly string[]): readonly string[];
  /** The shell commands, without sudo, that stop all timers and keep them from starting at boot. */
  readonly stopCommands: readonly string[];
};

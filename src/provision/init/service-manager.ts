import type { Facts } from '../facts.ts';
import type { RemoteFile } from '../step.ts';

/** The command line of dockerd in its service, without the places where dockerd listens, and those places. */
export type EngineCommand = { readonly line: string; readonly sockets: readonly string[] };

/**
 * The settings that the old docker-machine wrote on a host. Both lists are empty on a host that it never provisioned.
 */
export type DockerMachineSettings = {
  /** Flags of dockerd with their values (`label=a=b`), except those about where it listens and about its TLS. */
  readonly flags: readonly string[];
  /** `NAME=value` */
  readonly environment: readonly string[];
};

/** When a host ends or stops by itself, and what it needs to do so with nobody connected. */
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

/** The texts of the scripts that stay on a host, whole: with the functions of its service manager before them. */
export type LifetimeScripts = { readonly deadline: string; readonly idle: string };

/**
 * A service manager (the first process of a host), as far as Slipway depends on one. Everything here is data or a pure
 * function: what acts is the shell in `scripts`.
 */
export type ServiceManager = {
  /** Also names the function `facts_of_NAME` in `scripts.facts`. */
  readonly name: string;
  /** How sentences call it. */
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
    /** Defines the functions that the scripts which stay on the host call: `power_off` and `has_session`. */
    readonly host: string;
  };
  /** True where the facts say that this service manager runs the host. */
  isRecognized(facts: Facts): boolean;
  readonly engine: EngineService;
  readonly timers: LifetimeTimers;
};

/**
 * How a service manager runs dockerd with a command line of Slipway's. `definition` is
 * `facts.engineService.definition`.
 */
export type EngineService = {
  /** The file with Slipway's command line for dockerd. */
  readonly dropInPath: string;
  /** The file in which the old docker-machine put its command line for dockerd, in place of the service's own. */
  readonly dockerMachinePath: string;
  /**
   * Returns the command line of the service without Slipway's and docker-machine's files; a default where there is no
   * service yet.
   */
  commandOf(definition: string): EngineCommand;
  parseDockerMachineSettings(definition: string): DockerMachineSettings;
  formatDropIn(command: EngineCommand, environmentFile: string | undefined): string;
  /** Returns the content of docker-machine's file once only these variables (`NAME=value`) are left in it. */
  formatEnvironmentDropIn(environment: readonly string[]): string;
  /** Returns `NAME=value` as a line of the file that the drop-in reads variables from. */
  formatEnvironmentLine(pair: string): string;
};

/** How a service manager ends a host at its deadline, and stops it when it is idle. */
export type LifetimeTimers = {
  /** All files that `filesFor` can return. */
  readonly paths: readonly string[];
  filesFor(lifetime: HostLifetime): readonly RemoteFile[];
  /** Returns the names of the timers among files of `filesFor`. */
  namesOf(paths: readonly string[]): readonly string[];
  /** Returns the shell commands, without sudo, that stop all timers now and keep them from coming back with a boot. */
  readonly stopCommands: readonly string[];
};

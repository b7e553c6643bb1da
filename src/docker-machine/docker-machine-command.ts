import type { World } from '../operations/world.ts';
import type { Flag, FlagValues } from './go-flags.ts';

/** The input of one call of a command: what the user typed, and the process in which it runs. */
export type DockerMachineInvocation = {
  /** The arguments that are not flags. */
  readonly words: readonly string[];
  /** All flags by their first names: typed, from the environment, or by default. */
  readonly values: FlagValues;
  /** The flags that the user typed, without defaults and variables. */
  readonly typed: FlagValues;
  /** The whole command line, from `docker-machine` on. */
  readonly argv: readonly string[];
  readonly world: World;
  /** The root of the store: `~/.docker/machine`, MACHINE_STORAGE_PATH or --storage-path. */
  readonly root: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The flags before the command. */
  readonly globals: FlagValues;
  /** Returns the world with a progress row for this machine, if the command line names several. */
  readonly worldOf: (name: string) => World;
  /** Shows that the work for this machine is over; with an error, that it failed. */
  readonly reportEnd: (name: string, error?: unknown) => void;
  /** Ends the display of steps; later lines are printed below it. */
  readonly closeProgress: () => void;
  /** Sets a variable of this process, for the libraries that read it. */
  readonly setEnvForRun: (variable: string, value: string | undefined) => void;
  /** Writes a line to stdout. */
  readonly print: (line: string) => void;
  /** Writes a line to stderr. */
  readonly say: (line: string) => void;
  /** Asks a question on stdout and returns a line from stdin; '' at the end of stdin. */
  readonly ask: (question: string) => Promise<string>;
  /** `docker-machine version …`, for the command `version`. */
  readonly version: string;
};

export type DockerMachineCommand = {
  readonly name: string;
  /** The command's line in the help of the program. */
  readonly summary: string;
  /** The arguments in the usage line, after the flags. */
  readonly argsUsage: string;
  readonly flags: readonly Flag[];
  /** Loads the flags of the driver that the command line names. */
  readonly loadDriverFlags?: (
    argv: readonly string[],
    call: Pick<DockerMachineInvocation, 'env' | 'world'>,
  ) => Promise<readonly Flag[]>;
  readonly details?: string;
  /** Whether the arguments belong to another program (ssh), and are not parsed. */
  readonly raw?: true;
  /** Whether stdout belongs to the program that the command starts: scripts keep that output, so steps go to stderr. */
  readonly reservesStdout?: true;
  /** Returns the exit status; undefined means 0. */
  run(call: DockerMachineInvocation): Promise<number | void>;
};

/** Returns its argument: it exists for type inference. */
export const defineDockerMachineCommand = (command: DockerMachineCommand): DockerMachineCommand => command;

/** The files of an authority that a team shares; undefined where the store's own file is used. */
export type AuthorityFiles = {
  readonly ca: string | undefined;
  readonly caKey: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
};

/** Reads the `--tls-…` flags. */
export function authorityFilesFrom({ globals }: Pick<DockerMachineInvocation, 'globals'>): AuthorityFiles {
  const file = (flag: string): string | undefined => {
    const path = globals[flag];
    return typeof path === 'string' && path !== '' ? path : undefined;
  };
  return {
    ca: file('tls-ca-cert'),
    caKey: file('tls-ca-key'),
    cert: file('tls-client-cert'),
    key: file('tls-client-key'),
  };
}

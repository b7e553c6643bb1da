import type { World } from '../operations/world.ts';
import type { Flag, FlagValues } from './go-flags.ts';

/** What a command of the drop-in may know of the process that it runs in. */
export type DockerMachineInvocation = {
  readonly words: readonly string[];
  readonly values: FlagValues;
  /** Those flags that were typed. */
  readonly typed: FlagValues;
  /** The whole command line, as it can be typed again. */
  readonly argv: readonly string[];
  readonly world: World;
  /** The old store's root: `~/.docker/machine` or MACHINE_STORAGE_PATH. */
  readonly root: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Flags before the command. */
  readonly globals: FlagValues;
  /** The world with this machine's own progress, where there are several. */
  readonly worldOf: (name: string) => World;
  /** Nothing more is done for this machine, be it that it failed. */
  readonly reportEnd: (name: string, error?: unknown) => void;
  /** No more steps are shown: what is printed from now on stands below them. */
  readonly closeProgress: () => void;
  readonly setEnvForRun: (variable: string, value: string | undefined) => void;
  /** A line on stdout. */
  readonly print: (line: string) => void;
  /** A line on stderr. */
  readonly say: (line: string) => void;
  /** An answer from stdin, without the line's end; '' where it has ended. */
  readonly ask: (question: string) => Promise<string>;
  readonly version: string;
};

export type DockerMachineCommand = {
  readonly name: string;
  /** One line of the overview. */
  readonly summary: string;
  /** What stands behind the flags in the usage line. */
  readonly argsUsage: string;
  readonly flags: readonly Flag[];
  /** Further flags, of the driver that the command line names. */
  readonly loadDriverFlags?: (
    argv: readonly string[],
    call: Pick<DockerMachineInvocation, 'env' | 'world'>,
  ) => Promise<readonly Flag[]>;
  readonly details?: string;
  /** All behind the command is somebody else's. */
  readonly raw?: true;
  /** stdout is that of the program that it starts: a script keeps what that prints, and our steps go to stderr. */
  readonly reservesStdout?: true;
  /** The exit status; 0 where it is undefined. */
  run(call: DockerMachineInvocation): Promise<number | void>;
};

/** Exists for inference only. */
export const defineDockerMachineCommand = (command: DockerMachineCommand): DockerMachineCommand => command;

/** Files of an authority that a team shares, in place of the store's own. */
export type AuthorityFiles = {
  readonly ca: string | undefined;
  readonly caKey: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
};

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

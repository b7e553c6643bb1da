import type { z } from 'zod';
import type { MakeImage, FindImageUsers } from '../images/get-or-make-image.ts';
import type { ImageStore } from '../images/image-store.ts';
import type { World } from '../operations/world.ts';
import { describeOptions, type OptionSpec, type OptionValues } from '../machine/options.ts';
import type { MachineProgress } from '../terminal/progress-views.ts';

/** What a command hands back: one document for --json (none when it is undefined), the text for people, both for stdout. */
export type CommandResult = { readonly json: unknown; readonly text: string; readonly status?: number };

/** Where a command that goes on shows how things are meanwhile. */
export type OutputScreen = {
  readonly write: (text: string) => void;
  /** Once a reader has taken all that was written: who waits for that keeps nothing for one that is slow. */
  readonly waitUntilDrained: () => Promise<void>;
  /** Undefined where it is no terminal. */
  readonly size: () => { readonly columns: number; readonly rows: number } | undefined;
  /** Documents are wanted, one a line, and nothing else. */
  readonly json: boolean;
};

/** All that a command may know of the process it runs in. */
export type Cli = {
  readonly world: World;
  readonly images: ImageStore;
  readonly makeImage: MakeImage;
  readonly listImageUsers: FindImageUsers;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly nodeVersion: string;
  /** Path of our own package.json. */
  readonly packageFile: string;
  /** A person at a terminal can be asked. */
  readonly interactive: boolean;
  readonly width: number;
  /** Not where output goes to a pipe or NO_COLOR is set. */
  readonly color: boolean;
  readonly screen: OutputScreen;
  /** How this program was called, for the command lines that we print. */
  readonly program: string;
  /**
   * The progress of one machine among several, which stands in one list with the others from the first time that it is asked
   * for. Its `end` says that nothing more will be done for it.
   */
  readonly progressOf: (machine: string) => MachineProgress;
  /** Sets a variable of the environment for the rest of this run, or takes it out. */
  readonly setEnvForRun: (variable: string, value: string | undefined) => void;
  /** A line for a person, on stderr. */
  readonly say: (line: string) => void;
};

/** What one call says: the words behind the command, and the options by their schema's keys, not yet parsed. */
export type CommandInput<S extends z.ZodObject = z.ZodObject> = {
  readonly positionals: readonly string[];
  readonly args: z.output<S>;
  /** From flags alone, by flag name without dashes: for commands that take the options of drivers and engine. */
  readonly flags: OptionValues;
};

export type Command<S extends z.ZodObject = z.ZodObject> = {
  readonly name: string;
  readonly summary: string;
  /** The words that it takes, as the usage line shows them: `<name>`, `[name...]`. */
  readonly usage: string;
  readonly args: S;
  /** Options declared elsewhere (drivers, engine), accepted here by the same parser. */
  readonly extraOptions?: readonly OptionSpec[];
  /** A line or two under the usage. */
  readonly details?: string;
  /** What follows the first word is somebody else's command line. */
  readonly passThrough?: boolean;
  run(given: CommandInput<S>, cli: Cli): Promise<CommandResult>;
};

/** Exists for inference only. */
export const defineCommand = <S extends z.ZodObject>(command: Command<S>): Command<S> => command;

export function optionSpecsOf(command: Command): readonly OptionSpec[] {
  return describeOptions(command.args);
}

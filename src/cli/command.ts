import type { z } from 'zod';
import type { MakeImage, FindImageUsers } from '../images/get-or-make-image.ts';
import type { ImageStore } from '../images/image-store.ts';
import type { World } from '../operations/world.ts';
import { describeOptions, type OptionSpec, type OptionValues } from '../machine/options.ts';
import type { MachineProgress } from '../terminal/progress-views.ts';

/** What a command returns for stdout: one document for --json (none if undefined), and the text for people. */
export type CommandResult = { readonly json: unknown; readonly text: string; readonly status?: number };

/** Where a command that keeps running, such as `ls --watch`, shows its output. */
export type OutputScreen = {
  readonly write: (text: string) => void;
  /** Resolves once a reader has taken everything written, so that a slow reader needs no buffer. */
  readonly waitUntilDrained: () => Promise<void>;
  /** Undefined if stdout is not a terminal. */
  readonly size: () => { readonly columns: number; readonly rows: number } | undefined;
  /** Whether the output consists of JSON documents, one per line. */
  readonly json: boolean;
};

/** Everything that a command may know about the process in which it runs. */
export type Cli = {
  readonly world: World;
  readonly images: ImageStore;
  readonly makeImage: MakeImage;
  readonly findImageUsers: FindImageUsers;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly nodeVersion: string;
  /** Path of Slipway's package.json. */
  readonly packageFile: string;
  /** Whether a person at a terminal can answer questions. */
  readonly interactive: boolean;
  readonly width: number;
  /** False if the output goes to a pipe or NO_COLOR is set. */
  readonly color: boolean;
  readonly screen: OutputScreen;
  /** The name of this program, for the command lines that it prints. */
  readonly program: string;
  /**
   * Returns the progress of one machine among several. The first call adds the machine to the list; `end` marks it as
   * finished.
   */
  readonly progressOf: (machine: string) => MachineProgress;
  /** Sets a variable of the environment for the rest of this run; undefined removes it. */
  readonly setEnvForRun: (variable: string, value: string | undefined) => void;
  /** Writes a line for a person to stderr. */
  readonly say: (line: string) => void;
};

/** The input of one call: the words after the command, and its options. */
export type CommandInput<S extends z.ZodObject = z.ZodObject> = {
  readonly positionals: readonly string[];
  readonly args: z.output<S>;
  /** Values of flags alone, by flag name without dashes, for commands that take options of drivers and the engine. */
  readonly flags: OptionValues;
};

export type Command<S extends z.ZodObject = z.ZodObject> = {
  readonly name: string;
  readonly summary: string;
  /** The words that the command takes, as the usage line shows them: `<name>`, `[name...]`. */
  readonly usage: string;
  readonly args: S;
  /** Options declared elsewhere (drivers, engine), accepted here by the same parser. */
  readonly extraOptions?: readonly OptionSpec[];
  /** A paragraph below the usage line. */
  readonly details?: string;
  /** Whether everything after the first word is another program's command line. */
  readonly passThrough?: boolean;
  run(input: CommandInput<S>, cli: Cli): Promise<CommandResult>;
};

/** Returns the command; it exists so that TypeScript infers the type of `args`. */
export const defineCommand = <S extends z.ZodObject>(command: Command<S>): Command<S> => command;

export function optionSpecsOf(command: Command): readonly OptionSpec[] {
  return describeOptions(command.args);
}

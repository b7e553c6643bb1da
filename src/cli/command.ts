import type { z } from 'zod';
import type { MakeImage, UsersOf } from '../images/making.ts';
import type { Images } from '../images/store.ts';
import type { World } from '../operations/world.ts';
import { describe, type OptionInfo, type Values } from '../machine/options.ts';
import type { MachineProgress } from '../terminal/progress.ts';

/** What a command hands back: one document for --json (none when it is undefined), the text for people, both for stdout. */
export type Result = { readonly json: unknown; readonly text: string; readonly status?: number };

/** Where a command that goes on shows how things are meanwhile. */
export type Screen = {
  readonly write: (text: string) => void;
  /** Once a reader has taken all that was written: who waits for that keeps nothing for one that is slow. */
  readonly taken: () => Promise<void>;
  /** Undefined where it is no terminal. */
  readonly size: () => { readonly columns: number; readonly rows: number } | undefined;
  /** Documents are wanted, one a line, and nothing else. */
  readonly json: boolean;
};

/** All that a command may know of the process it runs in. */
export type Cli = {
  readonly world: World;
  readonly images: Images;
  readonly makeImage: MakeImage;
  readonly imageUsers: UsersOf;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly nodeVersion: string;
  /** Path of our own package.json. */
  readonly packageFile: string;
  /** A person at a terminal can be asked. */
  readonly interactive: boolean;
  readonly width: number;
  /** Not where output goes to a pipe or NO_COLOR is set. */
  readonly color: boolean;
  readonly screen: Screen;
  /** How this program was called, for the command lines that we print. */
  readonly program: string;
  /**
   * The progress of one machine among several, which stands in one list with the others from the first time that it is asked
   * for. Its `end` says that nothing more will be done for it.
   */
  readonly progressOf: (machine: string) => MachineProgress;
  /** Sets a variable of the environment for the rest of this run, or takes it out. */
  readonly lend: (variable: string, value: string | undefined) => void;
  /** A line for a person, on stderr. */
  readonly say: (line: string) => void;
};

/** What one call says: the words behind the command, and the options by their schema's keys, not yet parsed. */
export type Given<S extends z.ZodObject = z.ZodObject> = {
  readonly words: readonly string[];
  readonly args: z.output<S>;
  /** From flags alone, by flag name without dashes: for commands that take the options of drivers and engine. */
  readonly flags: Values;
};

export type Command<S extends z.ZodObject = z.ZodObject> = {
  readonly name: string;
  readonly summary: string;
  /** The words that it takes, as the usage line shows them: `<name>`, `[name...]`. */
  readonly words: string;
  readonly args: S;
  /** Options declared elsewhere (drivers, engine), accepted here by the same parser. */
  readonly more?: readonly OptionInfo[];
  /** A line or two under the usage. */
  readonly details?: string;
  /** What follows the first word is somebody else's command line. */
  readonly passThrough?: boolean;
  run(given: Given<S>, cli: Cli): Promise<Result>;
};

/** Exists for inference only. */
export const defineCommand = <S extends z.ZodObject>(command: Command<S>): Command<S> => command;

export function infosOf(command: Command): readonly OptionInfo[] {
  return describe(command.args);
}

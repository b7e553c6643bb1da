import inquirer from 'inquirer';
import { canceledError } from '../errors.ts';

/** A question as inquirer takes it. */
export type Question = {
  readonly name: string;
  readonly type: 'input' | 'number' | 'confirm' | 'select' | 'password' | 'search';
  readonly message: string;
  readonly default?: unknown;
  readonly choices?: readonly unknown[];
  readonly source?: (
    typed: string | undefined,
  ) => Promise<readonly { readonly value: string; readonly name: string }[]>;
  readonly validate?: (answer: unknown) => true | string;
  /** Returns the answer to take instead. */
  readonly filter?: (answer: unknown) => unknown;
};

/** Asks for a yes or a no. Enter alone answers `initial`, which callers set to false where something would be lost. */
export async function confirm(message: string, initial = true): Promise<boolean> {
  return (await askQuestions([{ name: 'yes', type: 'confirm', message, default: initial }])).yes === true;
}

/**
 * Asks the questions one after another and returns the answers by the names of the questions. Questions go to stderr,
 * like everything that is not a value. Throws CANCELED on Escape and Ctrl-C, with nothing changed.
 */
export async function askQuestions(questions: readonly Question[]): Promise<Record<string, unknown>> {
  const cancellation = new AbortController();
  const cancelOnEscape = (_text: unknown, key: { readonly name?: string } | undefined): void => {
    if (key?.name === 'escape') cancellation.abort();
  };
  const keyboard = process.stdin;
  keyboard.on('keypress', cancelOnEscape);
  const prompt = inquirer.createPromptModule({ output: process.stderr, signal: cancellation.signal });
  try {
    // inquirer's types tie each question's name to the answers' type; these questions are built at run time.
    return (await prompt(questions as unknown as Parameters<typeof prompt>[0])) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof Error && (error.name === 'ExitPromptError' || error.name === 'AbortPromptError'))
      throw canceledError();
    throw error;
  } finally {
    keyboard.off('keypress', cancelOnEscape);
  }
}

import { expect } from 'vitest';
import type { Machine } from '../../src/machine.ts';
import { ok, type Outcome, type User } from './slipway.ts';

/** How a command failed, as a person reads it: what happened, somebody else's lines about it, what to type next. */
export type Trouble = {
  readonly status: number;
  readonly sentence: string;
  readonly detail: readonly string[];
  readonly hint: string;
};

/** A failure must end in one sentence and one hint, with nothing below them; a stack or a second sentence throws. */
export async function trouble(outcome: Promise<Outcome> | Outcome): Promise<Trouble> {
  const { code, stdout, stderr } = await outcome;
  const lines = stderr.trimEnd().split('\n');
  const [sentence = '', ...rest] = lines.slice(lines.findIndex((line) => line.startsWith('✗ ')));
  const detail = rest.filter((line) => line.startsWith('  │ ')).map((line) => line.slice('  │ '.length));
  const hints = rest.filter((line) => line.startsWith('→ ')).map((line) => line.slice('→ '.length));
  if (code === 0 || !sentence.startsWith('✗ ') || hints.length !== 1 || detail.length + hints.length < rest.length)
    throw new Error(`expected one sentence and one hint, got status ${code}\n${stdout}\n${stderr}`);
  return { status: code, sentence: sentence.slice('✗ '.length), detail, hint: hints[0] ?? '' };
}

export async function recordOf(user: User, name: string): Promise<Machine> {
  const { stdout } = await ok(user.slipway('inspect', name, '--json'));
  return JSON.parse(stdout) as Machine;
}

/** The machine's engine answers the real docker CLI over the context that Slipway wrote. */
export async function expectAnswer(user: User, name: string): Promise<void> {
  const { stdout } = await ok(user.docker('--context', name, 'version', '--format', '{{.Server.Os}}'));
  expect(stdout.trim()).toBe('linux');
}

/** Waits for something that another process brings about; the test's own timeout is the only limit. */
export async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 50));
}

import type { z } from 'zod';
import type { Computer } from '../computer.ts';
import type { Host } from '../machine.ts';
import type { Program } from '../programs.ts';

/** The whole identity of a machine. A driver keeps no other state: it finds its resources by `id`. */
export type Target<O> = { readonly id: string; readonly name: string; readonly options: O };

export type Instance =
  | { readonly state: 'missing' }
  | { readonly state: 'pending' }
  | { readonly state: 'running'; readonly host: Host }
  | { readonly state: 'stopped' };

/** Whether a driver can work here, and what would mend it. */
export type Health =
  { readonly usable: true } | { readonly usable: false; readonly reason: string; readonly fix: string };

/** One line that a driver adds to `doctor`: whether there is what it needs besides programs, or a fact worth knowing. */
export type Finding = {
  readonly what: string;
  readonly state: 'ok' | 'missing' | 'note';
  readonly detail: string;
};

/** What every call gets: where it runs, where its output lines go, and when to stop. */
export type Call = {
  readonly computer: Computer;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
};

/**
 * A driver knows a provider and nothing of Docker. `lifecycle.ts` calls it in this order: check, create, then inspect until
 * the machine runs; remove at any time, also after a create that died between two calls.
 */
export type Driver<S extends z.ZodObject = z.ZodObject> = {
  readonly name: string;
  readonly summary: string;
  /** Flags, environment variables, wizard questions and the docs table all come from here. */
  readonly options: S;
  /** What `remove` leaves standing, for the user to know: absent when everything goes. */
  readonly stays?: string;
  /**
   * Local drivers by preference: `create` without a driver takes the usable one of the highest rank. Left out by drivers
   * that are never taken unasked.
   */
  readonly rank?: number;
  /** Programs of this computer that it needs; then they are no business of `health`. */
  programs?(computer: Computer): readonly Program[];
  /** Quick and without side effects; needs no options. */
  health(computer: Computer): Promise<Health>;
  /** What `doctor` tells beyond that. Called when the programs are there; may take a second. */
  checkup?(computer: Computer): Promise<readonly Finding[]>;
  /** Fails before anything exists or costs money: files that are missing, credentials, quota. */
  check?(target: Target<z.output<S>>, call: Call): Promise<void>;
  /** Returns as soon as the machine is asked for; waiting is the caller's job. A no-op when it already exists. Left out where there is nothing to make. */
  create?(target: Target<z.output<S>>, call: Call): Promise<void>;
  inspect(target: Target<z.output<S>>, call: Call): Promise<Instance>;
  /** Removes whatever carries this id, however little of it exists. A no-op when nothing does. Left out by drivers that make nothing. */
  remove?(target: Target<z.output<S>>, call: Call): Promise<void>;
};

/** Exists for inference only: a driver's own calls see its own options. */
export const defineDriver = <S extends z.ZodObject>(driver: Driver<S>): Driver<S> => driver;

import { setTimeout as sleep } from 'node:timers/promises';
import type { Computer } from '../computer/computer.ts';
import type { DriverCall } from '../drivers/contract.ts';
import { canceledError } from '../errors.ts';
import type { MachineSpec, ReadyMachine } from '../machine/model.ts';
import type { Log, Progress } from '../progress.ts';
import type { ReadTemplate } from '../provision/step.ts';
import type { ClientPaths } from '../profiles/profile.ts';
import type { ConnectSsh, KeyPair } from '../ssh/connection.ts';
import type { Store } from '../machine/store.ts';

/** Every effect that an operation can have, handed in so that tests can replace it. */
export type World = {
  readonly computer: Computer;
  readonly store: Store;
  readonly connect: ConnectSsh;
  readonly newKeyPair: (comment: string) => Promise<KeyPair>;
  readonly progress: Progress;
  readonly readTemplate: ReadTemplate;
  readonly signal: AbortSignal;
  readonly now: () => Date;
  readonly userHome: string;
  readonly sshAgent: string | undefined;
  readonly sudoPassword: string | undefined;
  readonly clientPaths: ClientPaths;
  readonly debug: (line: string) => void;
  /** Starts and ends the links of machines. Missing if machines get no links. */
  readonly links?: LinkControl;
  /** Starts a background process that builds a spare of this kind. Missing if spares are not wanted. */
  readonly startSpareBuild?: (spec: MachineSpec) => Promise<void>;
};

/** Starts and ends the background process beside a running machine, which forwards its published ports. */
export type LinkControl = {
  /**
   * Ensures that a running machine has its link, if it is to have one, and waits until the ports are open. Returns
   * sentences for the user about ports that could not be opened. Never throws: a machine works without its link.
   */
  readonly start: (machine: ReadyMachine) => Promise<readonly string[]>;
  /** Starts a link again that has ended although its machine runs. Quick: does not wait for the link. */
  readonly heal: (machine: ReadyMachine) => Promise<void>;
  /** Ends the link of a machine that has stopped or is about to be removed, and waits for its end. */
  readonly end: (name: string) => Promise<void>;
};

/** Waits this long; throws `CANCELED` when the signal aborts. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {
    throw canceledError();
  });
}

/** Returns what every call of a driver gets. */
export function driverCallFor({ computer, progress, signal }: World, log: Log): DriverCall {
  return { computer, log, step: (...work) => progress.step(...work), note: (text) => progress.note(text), signal };
}

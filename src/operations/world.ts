import { setTimeout as sleep } from 'node:timers/promises';
import type { Computer } from '../computer/computer.ts';
import type { Call } from '../drivers/contract.ts';
import { canceled } from '../errors.ts';
import type { MachineSpec } from '../machine/model.ts';
import type { Log, Progress } from '../progress.ts';
import type { ReadTemplate } from '../provision/run-step.ts';
import type { ClientPlaces } from '../profiles/profile.ts';
import type { Connect, KeyPair } from '../ssh/connection.ts';
import type { Store } from '../machine/store.ts';

/** Every effect the program has on the world, handed in. */
export type World = {
  readonly computer: Computer;
  readonly store: Store;
  readonly connect: Connect;
  readonly newKeyPair: (comment: string) => Promise<KeyPair>;
  readonly progress: Progress;
  readonly template: ReadTemplate;
  readonly signal: AbortSignal;
  readonly now: () => Date;
  readonly userHome: string;
  readonly sshAgent: string | undefined;
  readonly sudoPassword: string | undefined;
  readonly places: ClientPlaces;
  readonly debug: (line: string) => void;
  /** Has a spare of this machine's kind made after this command, by one that nobody waits for. Absent where none is to be left. */
  readonly leaveSpare?: (spec: MachineSpec) => Promise<void>;
};

export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {
    throw canceled();
  });
}

export function callOf({ computer, progress, signal }: World, log: Log): Call {
  return { computer, log, step: (...work) => progress.step(...work), note: (text) => progress.note(text), signal };
}

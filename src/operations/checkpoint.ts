import type { CreateCall } from '../drivers/contract.ts';
import { type ErrorCode, SlipwayError } from '../errors.ts';
import type { LastRequest, Machine } from '../machine/model.ts';
import { continueOrUndoHint } from '../machine/require-machine.ts';

import type { World } from './world.ts';

/** Writes into the record what a provider is about to be asked for, while there is no host to show for it. */
export function requestRecorderFor(machine: Machine, save: Checkpoint, { now }: World): CreateCall['recordRequest'] {
  return async (what) => {
    if (machine.phase === 'creating') await save({ ...machine, lastRequest: { what, at: now().toISOString() } });
  };
}

export type Checkpoint = (machine: Machine) => Promise<void>;

const INTERRUPTIONS: ReadonlySet<ErrorCode> = new Set(['CANCELED', 'SSH_LOST', 'HOST_FULL', 'LOCAL_FILES']);

/** Runs the rest of a path whose failure the record shall tell, from the last state that was saved. */
export async function withFailureRecord<T>(
  { wanted, ...start }: Machine & { readonly wanted?: () => Pick<Machine, 'spec' | 'deadline'> | undefined },
  { store, progress, now }: World,
  work: (save: Checkpoint) => Promise<T>,
): Promise<T> {
  let last = start;
  const save: Checkpoint = async (machine) => {
    last = machine;
    await store.write(machine);
  };
  try {
    return await work(save);
  } catch (error) {
    if (error instanceof SlipwayError) {
      const failure = {
        at: now().toISOString(),
        step: progress.lastStepId(),
        code: error.code,
        message: error.message,
      };
      // A ready machine is what its record says until the change has worked, or a refused option would come back with
      // each run. What merely stopped a change leaves it to be finished.
      const change = INTERRUPTIONS.has(error.code) ? wanted?.() : undefined;
      const { deadline, ...rest } = last;
      // With the change, also a deadline that it takes away.
      const known = change ?? { spec: last.spec, ...(deadline === undefined ? {} : { deadline }) };
      await store.write({ ...rest, ...known, failure }).catch((second: unknown) => {
        // The disk that is too full for this note is what the first error is about.
        if (!(second instanceof SlipwayError)) throw second;
      });
      if (error.code === 'CANCELED') throw interruptedError(last, error);
    }
    throw error;
  }
}

/** Explains an interruption without a question: what exists by now, and how to continue or undo it. */
function interruptedError(
  { phase, lastRequest, spec: { name, driver } }: Machine & { readonly lastRequest?: LastRequest },
  cause: SlipwayError,
): SlipwayError {
  if (phase === 'ready') {
    const message = `Interrupted: machine "${name}" may be only partly changed`;
    return new SlipwayError('CANCELED', message, { hint: `To continue: slipway provision ${name}`, cause });
  }
  const request = lastRequest ? `; ${driver} was asked for its ${lastRequest.what}` : '';
  const message = `Interrupted: machine "${name}" is incomplete${request}`;
  return new SlipwayError('CANCELED', message, { hint: continueOrUndoHint(name), cause });
}

import type { CreateCall } from '../drivers/contract.ts';
import { type ErrorCode, SlipwayError } from '../errors.ts';
import type { CreatingMachine, LastRequest, Machine } from '../machine/model.ts';
import { continueOrUndoHint } from '../machine/require-machine.ts';
import type { World } from './world.ts';

/** The functions with which a driver records its requests. */
export type RequestRecorder = Pick<CreateCall, 'recordRequest' | 'clearRequest'>;

/** Returns functions that record each request to the provider before it is sent, while the machine has no host. */
export function requestRecorderFor(machine: Machine, save: SaveCheckpoint, { now }: World): RequestRecorder {
  return {
    async recordRequest(what) {
      if (machine.phase === 'creating') await save(withRequest(machine, { what, at: now().toISOString() }));
    },
    async clearRequest() {
      if (machine.phase === 'creating') await save(withRequest(machine, undefined));
    },
  };
}

/** Returns the machine with this as the last request of its creation. */
export function withRequest(machine: CreatingMachine, request: LastRequest | undefined): CreatingMachine {
  const { lastRequest: _lastRequest, ...rest } = machine;
  return { ...rest, ...(request ? { lastRequest: request } : {}) };
}

/** The function that saves a machine's record at a point from which an interrupted command can continue. */
export type SaveCheckpoint = (machine: Machine) => Promise<void>;

/**
 * Errors that interrupt a change without refusing it: the record keeps the wanted spec, so that the next run continues.
 */
const INTERRUPTIONS: ReadonlySet<ErrorCode> = new Set(['CANCELED', 'SSH_LOST', 'HOST_FULL', 'LOCAL_FILES']);

/**
 * Runs `work`, which saves the record as it proceeds, and adds a failure to the last saved state. `wanted` returns the
 * change that the next run has to complete after an interruption, or undefined while no part of it has been applied.
 */
export async function withFailureRecord<T>(
  { wanted, ...start }: Machine & { readonly wanted?: () => Pick<Machine, 'spec' | 'deadline'> | undefined },
  { store, progress, now }: World,
  work: (save: SaveCheckpoint) => Promise<T>,
): Promise<T> {
  let last = start;
  const save: SaveCheckpoint = async (machine) => {
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
      // A ready machine's record stays unchanged until the change has succeeded: otherwise a refused option would come
      // back with each run. After an interruption, however, the next run has to complete the change.
      const change = INTERRUPTIONS.has(error.code) ? wanted?.() : undefined;
      const { deadline, ...rest } = last;
      // The deadline is left out above, since the change may remove it.
      const recorded = change ?? { spec: last.spec, ...(deadline === undefined ? {} : { deadline }) };
      await store.write({ ...rest, ...recorded, failure }).catch((writeError: unknown) => {
        // If the disk is too full for this record, the first error already says so.
        if (!(writeError instanceof SlipwayError)) throw writeError;
      });
      if (error.code === 'CANCELED') throw interruptedError(last, error);
    }
    throw error;
  }
}

/** Returns an error that says what exists after an interruption, and how to continue or undo it. */
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

import { SlipwayError } from '../../errors.ts';
import type { Host, ReadyMachine } from '../../machine/model.ts';
import type { Store } from '../../machine/store.ts';

/** The machine if it was finished; else what would finish it. */
export async function requireReadyMachine(name: string, store: Store): Promise<ReadyMachine> {
  const machine = await store.read(name);
  if (machine.phase === 'ready') return machine;
  throw unfinishedError(name);
}

/** The host of a machine as far as it is known. */
export async function requireHost(name: string, store: Store): Promise<Host> {
  const { host } = await store.read(name);
  if (host) return host;
  throw unfinishedError(name);
}

function unfinishedError(name: string): SlipwayError {
  return new SlipwayError('MACHINE_NOT_READY', `"${name}" is not finished: its making was stopped`, {
    hint: `Finish it: slipway create ${name}, or undo it: slipway rm ${name}`,
  });
}

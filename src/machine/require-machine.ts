import { SlipwayError } from '../errors.ts';
import type { Host, ReadyMachine } from './model.ts';
import type { Store } from './store.ts';

/** Returns the machine. Throws MACHINE_NOT_READY if its creation was interrupted. */
export async function requireReadyMachine(name: string, store: Store): Promise<ReadyMachine> {
  const machine = await store.read(name);
  if (machine.phase === 'ready') return machine;
  throw incompleteMachineError(name);
}

/** Returns the machine's host, which is known before the machine is ready. Throws MACHINE_NOT_READY if it is not. */
export async function requireHost(name: string, store: Store): Promise<Host> {
  const { host } = await store.read(name);
  if (host) return host;
  throw incompleteMachineError(name);
}

function incompleteMachineError(name: string): SlipwayError {
  return new SlipwayError('MACHINE_NOT_READY', `Machine "${name}" is incomplete: its creation was interrupted`, {
    hint: `To continue: slipway create ${name}. To undo: slipway rm ${name}`,
  });
}

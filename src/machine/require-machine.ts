import { SlipwayError } from '../errors.ts';
import type { Host, Machine, ReadyMachine } from './model.ts';
import type { Store } from './store.ts';

/** Reads a machine's record and returns it. Throws MACHINE_NOT_READY if its creation was interrupted. */
export async function requireReadyMachine(name: string, store: Store): Promise<ReadyMachine> {
  return requireReady(await store.read(name));
}

/** Returns the machine's host, which a record has before the machine is ready. Throws MACHINE_NOT_READY without one. */
export async function requireHost(name: string, store: Store): Promise<Host> {
  const { host } = await store.read(name);
  if (host) return host;
  throw incompleteMachineError(name);
}

/** Returns the machine. Throws MACHINE_NOT_READY if its creation was interrupted. */
export function requireReady(machine: Machine): ReadyMachine {
  if (machine.phase === 'ready') return machine;
  throw incompleteMachineError(machine.spec.name);
}

function incompleteMachineError(name: string): SlipwayError {
  return new SlipwayError('MACHINE_NOT_READY', incompleteMessage(name), { hint: continueOrUndoHint(name) });
}

export function incompleteMessage(name: string): string {
  return `Machine "${name}" is incomplete: its creation was interrupted`;
}

/** Returns a hint with the commands that continue or undo an interrupted creation. */
export function continueOrUndoHint(name: string): string {
  return `To continue: slipway create ${name}. To undo: slipway rm ${name}`;
}

export function machineExistsMessage(name: string): string {
  return `Machine "${name}" already exists`;
}

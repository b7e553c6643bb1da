import type { Host, ReadyMachine } from '../../machine/model.ts';
import type { Store } from '../../machine/store.ts';
import * as guards from '../../operations/guards.ts';

/** Reads a machine's record and returns it if the machine is ready; otherwise says how to continue its creation. */
export async function requireReadyMachine(name: string, store: Store): Promise<ReadyMachine> {
  return guards.requireReady(await store.read(name));
}

/** Reads a machine's record and returns its host, as far as its creation has come. */
export async function requireHost(name: string, store: Store): Promise<Host> {
  return guards.requireHost(await store.read(name));
}

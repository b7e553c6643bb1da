import { setTimeout as sleep } from 'node:timers/promises';
import { SlipwayError } from '../errors.ts';
import type { Machine } from '../machine/model.ts';
import { connectToHost, explainConnectionError } from './host-session.ts';
import type { World } from './world.ts';

/** Tries and pause together cover the time that a first connection may take. */
const BUSY_TRIES = 100;
const BUSY_PAUSE_MS = 200;

/**
 * Pins the host key of a machine that another tool created, by one connection that shows the key, so that the user's
 * own ssh can require it. Does nothing for any other machine.
 */
export async function pinHostKey(name: string, world: World): Promise<void> {
  const { store } = world;
  await using lock = await lockUnlessPinned(name, world);
  if (!lock) return;
  const machine = await store.read(name);
  const ssh = machine.host?.ssh;
  if (isPinned(machine) || !ssh || machine.phase === 'creating') return;
  const { session } = await connectToHost(ssh, world, async (pinned) =>
    store.write({ ...machine, host: { address: machine.host.address, ssh: pinned, ...enginePortOf(machine) } }),
  ).catch((error: unknown) => {
    throw explainConnectionError(error, machine);
  });
  await session[Symbol.asyncDispose]();
}

/**
 * Locks the machine, unless its key is pinned: of several commands at once, one connects and the others wait for its
 * result.
 */
async function lockUnlessPinned(name: string, { store, signal }: World): Promise<AsyncDisposable | undefined> {
  for (let tries = 1; ; tries += 1) {
    if (isPinned(await store.read(name))) return undefined;
    try {
      return await store.lock(name);
    } catch (error) {
      const isBusy = error instanceof SlipwayError && error.code === 'MACHINE_BUSY';
      if (!isBusy || tries === BUSY_TRIES || signal.aborted) throw error;
      await sleep(BUSY_PAUSE_MS);
    }
  }
}

function enginePortOf({ host }: Machine): { readonly enginePort?: number } {
  return host?.ssh && host.enginePort !== undefined ? { enginePort: host.enginePort } : {};
}

function isPinned({ host }: Machine): boolean {
  return host?.ssh === undefined || host.ssh.hostKey !== undefined;
}

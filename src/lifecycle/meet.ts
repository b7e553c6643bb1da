import type { Machine } from '../machine.ts';
import { openSession } from './hosts.ts';
import type { World } from './world.ts';

/**
 * A machine that another tool made has no host key pinned: it is met once, by a connection that shows its key and pins it, so that the
 * user's own ssh can demand it. A no-op for all others.
 */
export async function meetHost(name: string, world: World): Promise<void> {
  const { store } = world;
  if (isKnown(await store.read(name))) return;
  await using _lock = await store.lock(name);
  const machine = await store.read(name);
  const ssh = machine.host?.ssh;
  if (isKnown(machine) || !ssh || machine.phase === 'creating') return;
  const { session } = await world.progress.step('connect', `Connect to ${ssh.user}@${ssh.address}`, () =>
    openSession(ssh, world, async (pinned) =>
      store.write({ ...machine, host: { address: machine.host.address, ssh: pinned, ...portOf(machine) } }),
    ),
  );
  await session[Symbol.asyncDispose]();
}

function portOf({ host }: Machine): { readonly enginePort?: number } {
  return host?.ssh && host.enginePort !== undefined ? { enginePort: host.enginePort } : {};
}

function isKnown({ host }: Machine): boolean {
  return host?.ssh === undefined || host.ssh.hostKey !== undefined;
}

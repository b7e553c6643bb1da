import { describePort, readLinkState, toPortDocument, type PortDocument } from '../link/link-state.ts';
import type { Machine } from '../machine/model.ts';
import type { World } from '../operations/world.ts';

/**
 * Returns the published ports of a machine as its link has opened them, and starts a link again that has ended. A link
 * that leaves its state behind was killed; if its machine does not run any more, the new one ends at once.
 */
export async function loadPublishedPorts(
  machine: Machine,
  isRunning: boolean,
  { links, store }: Pick<World, 'links' | 'store'>,
): Promise<readonly PortDocument[]> {
  if (machine.phase !== 'ready') return [];
  const state = await readLinkState(store.paths(machine.spec.name).link);
  if (isRunning || state !== undefined) await links?.heal(machine);
  return (state?.ports ?? []).map(toPortDocument);
}

export function formatPorts(ports: readonly PortDocument[]): string {
  return ports.map(describePort).join(', ');
}

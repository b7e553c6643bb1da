import { describePort, readLinkState, toPortDocument, type PortDocument } from '../link/link-state.ts';
import type { Machine } from '../machine/model.ts';
import type { World } from '../operations/world.ts';

/**
 * Returns the published ports of a machine that runs, as its link has opened them, and starts a link again that has
 * ended.
 */
export async function loadPublishedPorts(
  machine: Machine,
  { links, store }: Pick<World, 'links' | 'store'>,
): Promise<readonly PortDocument[]> {
  if (machine.phase !== 'ready') return [];
  await links?.heal(machine);
  return ((await readLinkState(store.paths(machine.spec.name).link))?.ports ?? []).map(toPortDocument);
}

export function formatPorts(ports: readonly PortDocument[]): string {
  return ports.map(describePort).join(', ');
}

import type { DaemonJsonOwnership } from './daemon-json.ts';
import type { Facts } from './facts.ts';

/** Where a host keeps the machine that it is, and what of its daemon.json is Slipway's. */
export const STATE_FILE = '/etc/docker/slipway/state.json';

type HostState = Partial<DaemonJsonOwnership & { readonly id: string; readonly name: string }>;

/** Returns the machine that this host was provisioned as last, if any. */
export function ownerOf({ slipwayState }: Facts): { readonly id: string; readonly name: string } | undefined {
  const { id, name } = parseState(slipwayState) ?? {};
  return typeof id === 'string' && typeof name === 'string' ? { id, name } : undefined;
}

/**
 * Reads from the host's state which settings of its daemon.json are Slipway's; undefined where it was never
 * provisioned.
 */
export function parseOwnership(state: string | undefined): DaemonJsonOwnership | undefined {
  const parsed = parseState(state);
  if (!parsed) return undefined;
  const { settings = {}, replaced = {}, made = false } = parsed;
  return { settings, replaced, made };
}

function parseState(state: string | undefined): HostState | undefined {
  if (state === undefined) return undefined;
  try {
    return JSON.parse(state) as HostState;
  } catch (error) {
    // Truncated or edited: the next run writes it again, and settings that were Slipway's count as the user's.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

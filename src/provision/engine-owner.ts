import type { DaemonJsonOwnership } from './daemon-json.ts';
import type { Facts } from './facts.ts';
import { parseJson } from '../parse-json.ts';

/** The file on a host that says which machine it is, and which settings of its daemon.json are Slipway's. */
export const STATE_FILE = '/etc/docker/slipway/state.json';

type HostState = Partial<
  DaemonJsonOwnership & {
    readonly id: string;
    readonly name: string;
    /** Whether the engine did not start at boot before Slipway enabled its service. */
    readonly wasDisabled: boolean;
  }
>;

/** Returns the machine that the host was last provisioned as, if any. */
export function ownerOf({ slipwayState }: Facts): { readonly id: string; readonly name: string } | undefined {
  const { id, name } = parseState(slipwayState) ?? {};
  return typeof id === 'string' && typeof name === 'string' ? { id, name } : undefined;
}

/**
 * Reads from the host's state file which settings of its daemon.json are Slipway's; undefined if the host was never
 * provisioned.
 */
export function parseOwnership(state: string | undefined): DaemonJsonOwnership | undefined {
  const parsed = parseState(state);
  if (!parsed) return undefined;
  const { settings = {}, replaced = {}, made = false, original } = parsed;
  return { settings, replaced, made, ...(typeof original === 'string' ? { original } : {}) };
}

/**
 * Returns whether the engine's service was there and disabled before Slipway enabled it. Once Slipway has configured
 * the engine, only its state file knows that.
 */
export function isDisabledWithoutSlipway({
  slipwayState,
  engineService,
}: Pick<Facts, 'slipwayState' | 'engineService'>): boolean {
  const state = parseState(slipwayState);
  return state ? state.wasDisabled === true : engineService.definition !== '' && !engineService.isEnabled;
}

/**
 * Returns undefined for a file that is truncated or was edited: the next run writes it again, and Slipway's settings
 * then count as the user's.
 */
function parseState(state: string | undefined): HostState | undefined {
  return parseJson(state) as HostState | undefined;
}

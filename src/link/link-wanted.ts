import { drivers } from '../drivers/registry.ts';
import type { Machine } from '../machine/model.ts';

/**
 * Pure. Returns whether a machine has a link while it runs, as its user decided with --link or --no-link. By default, a
 * VM of this computer has one, and other machines have none: a fleet of servers publishes the same ports many times.
 */
export function isLinkWanted({ spec, host }: Pick<Machine, 'spec' | 'host'>): boolean {
  const isLocal = drivers.find(({ name }) => name === spec.driver)?.kind === 'local';
  return (spec.sharing?.link ?? isLocal) && (isLocal || host?.ssh !== undefined);
}

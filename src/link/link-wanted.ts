import { drivers } from '../drivers/registry.ts';
import type { Machine } from '../machine/model.ts';

/** Pure. Returns whether a machine has a link while it runs: a VM of this computer, unless its user wants none. */
export function isLinkWanted({ spec }: Pick<Machine, 'spec'>): boolean {
  return spec.sharing?.link !== false && drivers.find(({ name }) => name === spec.driver)?.kind === 'local';
}

import type { Machine } from '../machine/model.ts';

/** `ofSlipway`: the view of a machine that `slipway` keeps elsewhere, and alone may change or remove. */
export type ConfigJsonMachine = Machine & { readonly managedBySlipway?: true };

/** Whether this is the view of a machine that `slipway` keeps in its own store. */
export function isManagedBySlipway(machine: Machine): boolean {
  return (machine as ConfigJsonMachine).managedBySlipway === true;
}

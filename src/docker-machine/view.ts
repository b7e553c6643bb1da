import type { Machine } from '../machine/model.ts';

/** `ofSlipway`: the view of a machine that `slipway` keeps elsewhere, and alone may change or remove. */
export type Foreign = Machine & { readonly ofSlipway?: true };

/** Whether this is the view of a machine that `slipway` keeps in its own store. */
export function isSlipways(machine: Machine): boolean {
  return (machine as Foreign).ofSlipway === true;
}

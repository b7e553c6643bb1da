import type { OptionChange } from '../contract.ts';

type ChangeRules = {
  /** The option for the machine's type, which changes while the machine is stopped. */
  readonly typeOption: string;
  /** The option for the disk's size: a cloud can grow a disk, but not shrink it. */
  readonly diskSizeOption: string;
  /** Options that affect only Slipway itself, or that `changes.apply` applies to existing resources. */
  readonly liveOptions: readonly string[];
};

/** Returns the `changeKindOf` of a cloud; all other options take another machine. */
export function changeKindsOf({
  typeOption,
  diskSizeOption,
  liveOptions,
}: ChangeRules): (option: string, from: unknown, to: unknown) => OptionChange {
  return (option, from, to) => {
    if (option === typeOption) return 'restart';
    if (option === diskSizeOption) return Number(to) > Number(from) ? 'restart' : 'replace';
    return liveOptions.includes(option) ? 'live' : 'replace';
  };
}

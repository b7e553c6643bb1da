import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { readVm } from './vm-record.ts';
import { vmFolder, type Vm } from './vm.ts';

/** Returns a machine's VM and its folder. Throws MACHINE_NOT_READY if the VM does not exist. */
export async function requireVm(
  { id, name }: Target<unknown>,
  { computer }: DriverCall,
): Promise<{ readonly folder: string; readonly vm: Vm }> {
  const folder = vmFolder(computer, id);
  const vm = await readVm(folder);
  if (vm) return { folder, vm };
  throw new SlipwayError('MACHINE_NOT_READY', `The VM of "${name}" is missing: ${folder} has no vm.json`, {
    hint: `Restore the folder, or remove the machine: slipway rm ${name}`,
  });
}

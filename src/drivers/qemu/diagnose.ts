import type { Computer } from '../../computer/computer.ts';
import { findMissingPrograms } from '../../computer/programs.ts';
import { archOf, archs } from '../../images/image.ts';
import type { Diagnostic } from '../contract.ts';
import { hardwareAccelerator, readLastProbe } from './accelerator.ts';
import { isForeignArch } from './guest-arch.ts';
import { requiredPrograms } from './required-programs.ts';
import { canSuspend } from './snapshot.ts';
import { listSpares } from './spare-store.ts';

/** Returns what `doctor` reports about this driver. */
export async function diagnose(computer: Computer): Promise<readonly Diagnostic[]> {
  return [await diagnoseAcceleration(computer), await diagnoseOtherArch(computer), await diagnoseWarmStart(computer)];
}

async function diagnoseAcceleration(computer: Computer): Promise<Diagnostic> {
  const what = 'acceleration';
  const accelerator = hardwareAccelerator(computer.platform);
  const probe = await readLastProbe(computer);
  if (probe === undefined || accelerator === undefined)
    return { what, state: 'note', detail: 'not tried yet; the first create tries it' };
  if (probe.works) return { what, state: 'ok', detail: accelerator };
  return {
    what,
    state: 'note',
    detail: `software emulation, which is slow: ${accelerator} does not work (${probe.reason})`,
  };
}

/** Machines of another architecture need programs that `doctor` does not install, because few users need them. */
async function diagnoseOtherArch(computer: Computer): Promise<Diagnostic> {
  const other = archs.find((arch) => isForeignArch(arch, computer)) ?? archOf(computer);
  const what = `${other} machines`;
  const missing = await findMissingPrograms(requiredPrograms(computer, { arch: other }), computer);
  if (missing.length === 0) return { what, state: 'ok', detail: 'software emulation, which is slow' };
  return {
    what,
    state: 'note',
    detail: `not possible yet: no ${missing.map(({ command }) => command).join(', no ')}; to install: slipway create NAME --qemu-arch ${other} --yes`,
  };
}

async function diagnoseWarmStart(computer: Computer): Promise<Diagnostic> {
  const what = 'warm start';
  if (!canSuspend(computer))
    return { what, state: 'note', detail: 'not supported on this system: machines start cold' };
  const spares = await listSpares(computer);
  const megabytes = Math.ceil(spares.reduce((sum, { bytes }) => sum + bytes, 0) / 1_000_000);
  return spares.length === 0
    ? { what, state: 'note', detail: 'no spare is ready; create builds one' }
    : { what, state: 'ok', detail: `${spares.length} ready (${megabytes} MB)` };
}

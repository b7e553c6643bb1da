import { defineManifest } from '../contract.ts';
import { guestArchOf } from './guest-arch.ts';
import { OPTIONS_APPLIED_AT_START, qemuOptions, type QemuOptions } from './options.ts';
import { requiredPrograms } from './required-programs.ts';

export const qemu = defineManifest({
  kind: 'local',
  name: 'qemu',
  summary: 'a virtual machine on this computer',
  priority: 50,
  options: qemuOptions,
  programs: requiredPrograms,
  changeKindOf(option, from, to) {
    if (option === 'warm') return 'live';
    // A machine whose option is left open has the architecture of this computer.
    if (option === 'arch') return isSameArch(from, to) ? 'live' : 'replace';
    if (option === 'disk') return Number(to) >= Number(from) ? 'restart' : 'replace';
    return OPTIONS_APPLIED_AT_START.has(option) ? 'restart' : 'replace';
  },
  shutdownBehavior() {
    return { byItself: 'stopped', costs: 'its disk stays on this computer until it is removed' };
  },
  load: () => import('./driver.ts'),
});

function isSameArch(from: unknown, to: unknown): boolean {
  const [before, after] = [from, to].map((arch) => guestArchOf({ arch: arch as QemuOptions['arch'] }, process));
  return before === after;
}

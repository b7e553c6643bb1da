import { defineManifest } from '../contract.ts';
import { OPTIONS_APPLIED_AT_START, qemuOptions } from './options.ts';
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
    if (option === 'disk') return Number(to) >= Number(from) ? 'restart' : 'replace';
    return OPTIONS_APPLIED_AT_START.has(option) ? 'restart' : 'replace';
  },
  shutdownBehavior() {
    return { byItself: 'stopped', costs: 'its disk stays on this computer until it is removed' };
  },
  load: () => import('./driver.ts'),
});

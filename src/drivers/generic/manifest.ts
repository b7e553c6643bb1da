import { defineManifest } from '../contract.ts';
import { genericOptions } from './options.ts';

export const generic = defineManifest({
  kind: 'existing',
  name: 'generic',
  summary: 'a host that you can reach over SSH',
  retainedOnRemove: 'the host itself and its engine stay as they are',
  options: genericOptions,
  changeKindOf(option) {
    // Another address is another host; all other options only say how to connect to the host.
    return option === 'ipAddress' ? 'replace' : 'live';
  },
  shutdownBehavior({ options: { ipAddress } }) {
    return { byItself: 'stopped', costs: `the host ${ipAddress} itself is powered off, and only you can switch it on` };
  },
  load: () => import('./driver.ts'),
});

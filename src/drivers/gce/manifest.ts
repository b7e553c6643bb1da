import { describeDiskCost } from '../cloud/prices.ts';
import { defineManifest } from '../contract.ts';
import { defaultDiskType } from './machine-families.ts';
import { changeKindOf, FORMER_DEFAULTS, optionsSchema } from './options.ts';
import { diskMonthlyCost } from './prices.ts';

export const gce = defineManifest({
  kind: 'cloud',
  name: 'gce',
  aliases: ['google'],
  summary: 'an instance of Google Compute Engine',
  options: optionsSchema,
  formerDefaults: FORMER_DEFAULTS,
  checkHealth: async (computer) => (await import('./credentials.ts')).checkCredentials(computer),
  userDataIsPublic: true,
  account: { options: ['project', 'endpoint'] },
  changeKindOf,
  shutdownBehavior({ options: { machineType, diskType, diskSize, address, useExisting } }) {
    // Compute Engine could delete the instance at a deadline, but can't change the deadline while the instance runs.
    const monthly = useExisting ? undefined : diskMonthlyCost(diskType ?? defaultDiskType(machineType), diskSize);
    const disk = describeDiskCost(monthly);
    return { byItself: 'stopped', costs: address === 'static' ? `${disk}, and so does its address` : disk };
  },
  load: () => import('./driver.ts'),
});

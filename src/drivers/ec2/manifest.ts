import { describeDiskCost } from '../cloud/prices.ts';
import { defineManifest } from '../contract.ts';
import { changeKindOf, credentialsSchema, optionsSchema } from './options.ts';
import { diskMonthlyCost } from './prices.ts';

export const ec2 = defineManifest({
  kind: 'cloud',
  name: 'ec2',
  aliases: ['amazonec2'],
  summary: 'an instance of Amazon EC2',
  options: optionsSchema,
  checkHealth: async (computer) => (await import('./credentials.ts')).checkCredentials(computer),
  userDataIsPublic: true,
  account: {
    options: ['profile', 'endpoint', 'insecureTransport'],
    credentials: credentialsSchema,
    credentialsOption: 'profile',
  },
  changeKindOf,
  shutdownBehavior({ lifetime, options: { spot, volumeType, rootSize } }) {
    // A spot instance can't be stopped: its shutdown terminates it.
    const removed = spot || (lifetime?.ttl !== undefined && lifetime.idleStop === undefined);
    const monthly = diskMonthlyCost(volumeType, rootSize);
    const costs = describeDiskCost(monthly);
    return { byItself: removed ? 'removed' : 'stopped', costs };
  },
  load: () => import('./driver.ts'),
});

import { startEc2 } from '../clouds/ec2-double.ts';
import { startGce } from '../clouds/gce-double.ts';
import { containerGuests, noGuests } from '../clouds/guests.ts';
import type { CloudProvider } from './cloud-provider.ts';

export const ec2: CloudProvider = {
  driver: 'ec2',
  start: (instances) => startEc2({ guests: instances === 'with hosts' ? containerGuests() : noGuests() }),
  throttlingFault: { kind: 'refuse', status: 503, code: 'RequestLimitExceeded', message: 'Request limit exceeded.' },
};

export const gce: CloudProvider = {
  driver: 'gce',
  start: (instances) => startGce({ guests: instances === 'with hosts' ? containerGuests() : noGuests() }),
  throttlingFault: { kind: 'refuse', status: 429, code: 'rateLimitExceeded', message: 'Rate Limit Exceeded' },
};

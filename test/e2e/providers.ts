import { startEc2 } from '../clouds/ec2.ts';
import { startGce } from '../clouds/gce.ts';
import { containerGuests, noGuests } from '../clouds/guests.ts';
import type { Provider } from './clouds.ts';

export const ec2: Provider = {
  driver: 'ec2',
  start: (behind) => startEc2({ guests: behind === 'hosts' ? containerGuests() : noGuests() }),
  throttled: { kind: 'refuse', status: 503, code: 'RequestLimitExceeded', message: 'Request limit exceeded.' },
};

export const gce: Provider = {
  driver: 'gce',
  start: (behind) => startGce({ guests: behind === 'hosts' ? containerGuests() : noGuests() }),
  throttled: { kind: 'refuse', status: 429, code: 'rateLimitExceeded', message: 'Rate Limit Exceeded' },
};

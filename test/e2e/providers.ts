import { startEc2 } from '../clouds/ec2.ts';
import { containerGuests, noGuests } from '../clouds/guests.ts';
import type { Provider } from './clouds.ts';

export const ec2: Provider = {
  driver: 'ec2',
  start: (behind) => startEc2({ guests: behind === 'hosts' ? containerGuests() : noGuests() }),
  throttled: { kind: 'refuse', status: 503, code: 'RequestLimitExceeded', message: 'Request limit exceeded.' },
};

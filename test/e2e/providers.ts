import { startEc2 } from '../clouds/ec2-double.ts';
import { startGce } from '../clouds/gce-double.ts';
import { containerGuests, noGuests } from '../clouds/guests.ts';
import type { CloudProvider } from './cloud-provider.ts';

export const ec2: CloudProvider = {
  driver: 'ec2',
  start: (instances) => startEc2({ guests: instances === 'with hosts' ? containerGuests() : noGuests() }),
  throttlingFault: { kind: 'refuse', status: 503, code: 'RequestLimitExceeded', message: 'Request limit exceeded.' },
  otherPlace: ['--ec2-region', 'us-east-1'],
  createOperation: /RunInstances$/,
  tags: { option: 'tags', operation: /CreateTags$/ },
  secretVariables: ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'],
};

export const gce: CloudProvider = {
  driver: 'gce',
  start: (instances) => startGce({ guests: instances === 'with hosts' ? containerGuests() : noGuests() }),
  throttlingFault: { kind: 'refuse', status: 429, code: 'rateLimitExceeded', message: 'Rate Limit Exceeded' },
  otherPlace: ['--gce-zone', 'europe-west3-b'],
  createOperation: /(?<!firewalls\.)(insert|bulkInsert)$/,
  tags: { option: 'labels', operation: /setLabels$/ },
  secretVariables: ['CLOUDSDK_AUTH_ACCESS_TOKEN'],
};

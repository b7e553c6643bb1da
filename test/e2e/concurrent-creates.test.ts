import { describeConcurrentCreates } from './concurrent-creates.ts';
import { ec2, gce } from './providers.ts';

// The clouds run one after the other: a small computer cannot boot twice as many hosts.
describeConcurrentCreates(ec2);
describeConcurrentCreates(gce);

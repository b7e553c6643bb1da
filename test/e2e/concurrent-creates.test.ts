import { describeConcurrentCreates } from './concurrent-creates.ts';
import { ec2, gce } from './providers.ts';

// One after the other: two crowds of hosts at once are more than a small computer boots.
describeConcurrentCreates(ec2);
describeConcurrentCreates(gce);

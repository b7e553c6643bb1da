import { describeCloudCrowd } from './cloud-crowd.ts';
import { ec2, gce } from './providers.ts';

// One after the other: two crowds of hosts at once are more than a small computer boots.
describeCloudCrowd(ec2);
describeCloudCrowd(gce);

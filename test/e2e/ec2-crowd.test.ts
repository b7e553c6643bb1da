import { describeCloudCrowd } from './cloud-crowd.ts';
import { ec2 } from './providers.ts';

describeCloudCrowd(ec2);

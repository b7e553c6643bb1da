import { describeCloudLifecycle } from './cloud-lifecycle.ts';
import { ec2 } from './providers.ts';

describeCloudLifecycle(ec2);

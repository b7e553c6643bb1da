import { describeCloudLife } from './cloud-life.ts';
import { ec2 } from './providers.ts';

describeCloudLife(ec2);

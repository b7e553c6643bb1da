import { describeCloudLife } from './cloud-life.ts';
import { gce } from './providers.ts';

describeCloudLife(gce);

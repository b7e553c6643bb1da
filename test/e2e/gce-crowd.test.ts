import { describeCloudCrowd } from './cloud-crowd.ts';
import { gce } from './providers.ts';

describeCloudCrowd(gce);

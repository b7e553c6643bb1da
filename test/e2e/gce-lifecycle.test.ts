import { describeCloudLifecycle } from './cloud-lifecycle.ts';
import { gce } from './providers.ts';

describeCloudLifecycle(gce);

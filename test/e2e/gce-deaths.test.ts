import { describeCloudDeaths } from './cloud-deaths.ts';
import { gce } from './providers.ts';

// Lists of Compute Engine tell of what is new only after a while.
describeCloudDeaths(gce, (cloud) => {
  cloud.lateness = 1500;
});

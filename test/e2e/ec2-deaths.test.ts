import { describeCloudDeaths } from './cloud-deaths.ts';
import { ec2 } from './providers.ts';

// EC2 shows what it made only after a while.
describeCloudDeaths(ec2, (cloud) => {
  cloud.lateness = 1500;
});

import { describeKilledCreates } from './killed-creates.ts';
import { ec2 } from './providers.ts';

// EC2 shows new resources only after a while.
describeKilledCreates(ec2, (cloud) => {
  cloud.lateness = 1500;
});

import { describeKilledCreates } from './killed-creates.ts';
import { gce } from './providers.ts';

// Compute Engine lists new resources only after a while.
describeKilledCreates(gce, (cloud) => {
  cloud.lateness = 1500;
});

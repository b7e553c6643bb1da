import { describeKilledCreates } from './killed-creates.ts';
import { gce } from './providers.ts';

// Lists of Compute Engine tell of what is new only after a while.
describeKilledCreates(gce, (cloud) => {
  cloud.lateness = 1500;
});

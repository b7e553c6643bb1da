// The registry: one line a driver, in the order in which `drivers` and the wizard show them.
export { qemu } from './qemu/driver.ts';
export { generic } from './generic/driver.ts';
export { none } from './none/driver.ts';
export { ec2 } from './ec2/driver.ts';
export { gce } from './gce/driver.ts';

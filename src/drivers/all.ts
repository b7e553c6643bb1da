// The registry: one line a driver, in the order in which `drivers` and the wizard show them.
export { qemu } from './qemu/qemu.ts';
export { generic } from './generic.ts';
export { none } from './none.ts';
export { ec2 } from './ec2/ec2.ts';
export { gce } from './gce/gce.ts';

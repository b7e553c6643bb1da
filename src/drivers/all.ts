// The list of drivers, in the order in which `slipway drivers` and the wizard show them.
export { qemu } from './qemu/manifest.ts';
export { generic } from './generic/manifest.ts';
export { none } from './none/manifest.ts';
export { ec2 } from './ec2/manifest.ts';
export { gce } from './gce/manifest.ts';

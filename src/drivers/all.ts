// The registry: one line a driver, in the order in which `drivers` and the wizard show them.
export { generic } from './generic.ts';
export { none } from './none.ts';

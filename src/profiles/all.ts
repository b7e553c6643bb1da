// One line a profile. `shell-env` writes no file: `slipway env` prints it.
export { dockerContextProfile } from './docker-context.ts';
export { dockerMachineProfile } from './docker-machine.ts';
export { sshConfigProfile } from './ssh-config.ts';

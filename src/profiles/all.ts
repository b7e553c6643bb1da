// One line a profile. `shell-env` writes no file: `slipway env` prints it.
export { dockerContext } from './docker-context.ts';
export { dockerMachine } from './docker-machine.ts';
export { sshConfigProfile } from './ssh-config.ts';

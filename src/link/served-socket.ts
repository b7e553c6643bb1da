import { connect } from 'node:net';
import { SlipwayError } from '../errors.ts';
import type { ReadyMachine } from '../machine/model.ts';
import { dockerSocketPath, dockerSocketUrl } from './docker-socket.ts';
import { isLinkWanted } from './link-wanted.ts';

/** Returns the URL of the socket that a machine's link serves. Throws if the machine has no link, or does not run. */
export async function findServedSocket(
  machine: ReadyMachine,
  machineFolder: string,
  platform: NodeJS.Platform,
): Promise<string> {
  const { name } = machine.spec;
  if (!isLinkWanted(machine)) {
    throw new SlipwayError('USAGE', `Machine "${name}" has no link, which serves its socket`, {
      hint: machine.host.ssh
        ? `Give it one: slipway provision ${name} --link`
        : `Only a machine with SSH access can have one. Connect without a socket: leave out --socket`,
    });
  }
  const path = dockerSocketPath(machineFolder, platform);
  if (!(await canConnect(path))) {
    throw new SlipwayError('MACHINE_NOT_READY', `No link of machine "${name}" serves its socket`, {
      hint: `Start the machine: slipway start ${name}. If it runs, see what its link says: slipway link ${name}`,
    });
  }
  return dockerSocketUrl(path);
}

async function canConnect(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

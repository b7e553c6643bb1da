import { mountFolder, unmountFolder } from '../../openssh/mount-folder.ts';
import { pinHostKey } from '../../operations/pin-host-key.ts';
import { defineDockerMachineCommand } from '../docker-machine-command.ts';
import { DockerMachineError, toDockerMachineError } from '../docker-machine-error.ts';
import { PROGRAM } from '../help.ts';
import { readMachine } from '../machine-arguments.ts';
import { requireHostUp } from './ssh.ts';

export const mount = defineDockerMachineCommand({
  name: 'mount',
  summary: 'Mount or unmount a directory from a machine with SSHFS.',
  argsUsage: '[arg...]',
  reservesStdout: true,
  details: 'Arguments are [machine:][path] [mountpoint]',
  flags: [{ names: ['unmount', 'u'], kind: 'switch', usage: 'Unmount instead of mount' }],
  async run(call) {
    const { env, say, values, words, world } = call;
    const [what, where, ...more] = words;
    if (what === undefined || more.length > 0) throw new DockerMachineError('Improper number of arguments');
    const [, name = 'default', path = what] = /^([^/:]+):(.*)$/s.exec(what) ?? [];
    if (values.unmount === true)
      return (await unmountFolder(where ?? path, { world }).catch(throwAsDockerMachineError)).status;
    await readMachine(name, world);
    await requireHostUp(name, call, 'mount');
    await pinHostKey(name, world).catch(throwAsDockerMachineError);
    const side = `${name}:${path}`;
    return (
      await mountFolder(side, where, false, { world, say, env, program: PROGRAM, interactive: false }).catch(
        throwAsDockerMachineError,
      )
    ).status;
  },
});

function throwAsDockerMachineError(error: unknown): never {
  throw toDockerMachineError(error);
}

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
    const [source, mountPoint, ...extra] = words;
    if (source === undefined || extra.length > 0) throw new DockerMachineError('Improper number of arguments');
    const [, name = 'default', path = source] = /^([^/:]+):(.*)$/s.exec(source) ?? [];
    if (values.unmount === true)
      return (await unmountFolder(mountPoint ?? path, { world }).catch(throwAsDockerMachineError)).status;
    await readMachine(name, world);
    await requireHostUp(name, call, 'mount');
    await pinHostKey(name, world).catch(throwAsDockerMachineError);
    const side = `${name}:${path}`;
    return (
      await mountFolder(
        side,
        mountPoint,
        { yes: false },
        { world, say, env, program: PROGRAM, interactive: false },
      ).catch(throwAsDockerMachineError)
    ).status;
  },
});

function throwAsDockerMachineError(error: unknown): never {
  throw toDockerMachineError(error);
}

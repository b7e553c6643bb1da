import { prepareSshRoute } from '../../openssh/openssh-command.ts';
import { runInTerminal } from '../../terminal/run-program.ts';
import { pinHostKey } from '../../operations/pin-host-key.ts';
import type { World } from '../../operations/world.ts';
import { sshFlagsFor, sshOptionsFor } from '../../ssh/openssh-options.ts';
import { defineDockerMachineCommand, type DockerMachineInvocation } from '../docker-machine-command.ts';
import { DockerMachineError, toDockerMachineError } from '../docker-machine-error.ts';
import { readMachine, resolveMachineNames, getMachineState } from '../machine-arguments.ts';

export const ssh = defineDockerMachineCommand({
  name: 'ssh',
  summary: 'Log into or run a command on a machine with SSH.',
  argsUsage: '[arg...]',
  flags: [],
  raw: true,
  reservesStdout: true,
  details:
    'Arguments are [machine-name] [command]. What follows the name goes to ssh, which tells its own options from the command.',
  async run(call) {
    const { world } = call;
    const [name = '', ...rest] = await resolveMachineNames(call);
    await requireHostUp(name, call, 'run SSH command');
    const { address, argv } = await resolveSshArgv(name, world);
    const status = await runInTerminal('ssh', [...argv, address, ...rest], world).catch((error: unknown) => {
      throw toDockerMachineError(error, name);
    });
    return status;
  },
});

/**
 * Throws if the machine has no SSH access or is not running. `purpose` is an infinitive for the message: `copy files`.
 */
export async function requireHostUp(
  name: string,
  { world }: Pick<DockerMachineInvocation, 'world'>,
  purpose: string,
): Promise<void> {
  const machine = await readMachine(name, world);
  if (machine.host?.ssh === undefined) throw new DockerMachineError(`Error: Cannot ${purpose}: "${name}" has no SSH`);
  const { state } = await getMachineState(machine, world);
  // A machine whose creation was interrupted is in the state Error, and its host may answer.
  if (state !== 'Running' && state !== 'Error')
    throw new DockerMachineError(`Error: Cannot ${purpose}: Host "${name}" is not running`);
}

/**
 * Returns ssh's options for a machine. They require its pinned host key, so the key is pinned first if it is not yet.
 */
async function resolveSshArgv(
  name: string,
  world: World,
): Promise<{ readonly address: string; readonly argv: readonly string[] }> {
  try {
    await pinHostKey(name, world);
    const route = await prepareSshRoute(name, world);
    return { address: route.target.address, argv: sshFlagsFor(sshOptionsFor(route)) };
  } catch (error) {
    throw toDockerMachineError(error, name);
  }
}

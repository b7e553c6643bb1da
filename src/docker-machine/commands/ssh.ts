import { attached, routeTo } from '../../cli/openssh.ts';
import { meetHost } from '../../operations/pin-host-key.ts';
import { flagsOf, optionsOf } from '../../profiles/ssh-options.ts';
import { defineOld, type Call } from '../command.ts';
import { Failure, failureOf } from '../failure.ts';
import { machineNamed, namesIn, stateOf } from '../machines.ts';

export const ssh = defineOld({
  name: 'ssh',
  summary: 'Log into or run a command on a machine with SSH.',
  operands: '[arg...]',
  flags: [],
  raw: true,
  lendsStdout: true,
  details:
    'Arguments are [machine-name] [command]. What follows the name goes to ssh, which tells its own options from the command.',
  async run(call) {
    const { world } = call;
    const [name = '', ...rest] = await namesIn(call);
    await mustBeUp(name, call, 'run SSH command');
    const { address, argv } = await wayTo(name, world);
    const status = await attached('ssh', [...argv, address, ...rest], world.signal).catch((error: unknown) => {
      throw failureOf(error, name);
    });
    return status;
  },
});

/** Only a host that is up can be logged in to. */
export async function mustBeUp(name: string, { world }: Pick<Call, 'world'>, purpose: string): Promise<void> {
  const machine = await machineNamed(name, world);
  if (machine.host?.ssh === undefined) throw new Failure(`Error: Cannot ${purpose}: "${name}" has no SSH`);
  const { state } = await stateOf(machine, world);
  // Where its making was stopped, its host may well answer.
  if (state !== 'Running' && state !== 'Error')
    throw new Failure(`Error: Cannot ${purpose}: Host "${name}" is not running`);
}

/** ssh's own options for a machine, whose host key is demanded; it is pinned now if it never was. */
async function wayTo(
  name: string,
  world: Call['world'],
): Promise<{ readonly address: string; readonly argv: readonly string[] }> {
  try {
    await meetHost(name, world);
    const route = await routeTo(name, world.store);
    return { address: route.target.address, argv: flagsOf(optionsOf(route)) };
  } catch (error) {
    throw failureOf(error, name);
  }
}

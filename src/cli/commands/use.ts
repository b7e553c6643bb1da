import { z } from 'zod';
import type { Computer } from '../../computer/computer.ts';
import { applyFileChanges } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import type { ReadyMachine } from '../../machine/model.ts';
import { planContextSwitch } from '../../profiles/current-context.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { connectShellCommand, unsetVariableCommand } from '../../profiles/shell-env.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';
import { requireReadyMachine } from '../../machine/require-machine.ts';

const args = z.object({
  unset: z.boolean().default(false).meta({ description: "Return to the docker CLI's default context", short: 'u' }),
});

export const use: Command<typeof args> = defineCommand({
  name: 'use',
  summary: 'Make docker use a machine: its context becomes the current one',
  usage: '[name]',
  args,
  async run({ positionals: [name], args: { unset } }, cli) {
    const hasName = name !== undefined;
    if (hasName === unset) {
      throw new SlipwayError('USAGE', 'Either a machine or --unset is required', {
        hint: 'For example: slipway use NAME, or slipway use --unset',
      });
    }
    if (!hasName) {
      await applyFileChanges(await planContextSwitch(undefined, cli.world.clientPaths));
      return { json: { context: 'default' }, text: 'docker now uses its default context' };
    }
    const machine = await requireReadyMachine(name, cli.world.store);
    await makeCurrent(machine, cli);
    return { json: { context: contextName(name) }, text: `docker now uses the context ${contextName(name)}` };
  },
});

/** Makes the machine's context the docker CLI's current one, and warns about variables that override it. */
export async function makeCurrent({ spec }: ReadyMachine, { world, env, say }: Cli): Promise<void> {
  if (!spec.profiles.includes('docker-context')) {
    throw noContextError(spec.name, world.computer);
  }
  await applyFileChanges(await planContextSwitch(contextName(spec.name), world.clientPaths));
  for (const name of ['DOCKER_HOST', 'DOCKER_CONTEXT']) {
    if (!env[name]) continue;
    const command = unsetVariableCommand(name, world.computer);
    say(`${name} is set in this shell and overrides the current context. To unset it: ${command}`);
  }
}

/** Returns the error for a machine whose profiles do not include `docker-context`. */
export function noContextError(name: string, computer: Computer): SlipwayError {
  return new SlipwayError('USAGE', `Machine "${name}" has no docker context`, {
    hint: `To connect a shell without a context: ${connectShellCommand(name, computer)}`,
  });
}

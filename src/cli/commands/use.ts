import { z } from 'zod';
import { applyFileChanges } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import type { ReadyMachine } from '../../machine/model.ts';
import { planContextSwitch } from '../../profiles/current-context.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';
import { requireReadyMachine } from '../../machine/require-machine.ts';

const args = z.object({
  unset: z.boolean().default(false).meta({ description: "Go back to the docker CLI's default context", short: 'u' }),
});

export const use: Command<typeof args> = defineCommand({
  name: 'use',
  summary: 'Point the docker CLI at a machine: its context becomes the current one',
  usage: '[name]',
  args,
  async run({ positionals: [name], args: { unset } }, cli) {
    if (unset === (name !== undefined)) {
      throw new SlipwayError('USAGE', 'Name a machine, or say --unset', {
        hint: 'slipway use NAME, or slipway use --unset',
      });
    }
    if (name === undefined) {
      await applyFileChanges(await planContextSwitch(undefined, cli.world.clientPaths));
      return { json: { context: 'default' }, text: 'docker now uses its default context' };
    }
    const machine = await requireReadyMachine(name, cli.world.store);
    await makeCurrent(machine, cli);
    return { json: { context: contextName(name) }, text: `docker now uses the context ${contextName(name)}` };
  },
});

export async function makeCurrent({ spec }: ReadyMachine, { world, env, say }: Cli): Promise<void> {
  if (!spec.profiles.includes('docker-context')) {
    throw noContextError(spec.name);
  }
  await applyFileChanges(await planContextSwitch(contextName(spec.name), world.clientPaths));
  for (const name of ['DOCKER_HOST', 'DOCKER_CONTEXT']) {
    if (env[name]) say(`${name} is set in this shell and stands above the current context: unset ${name}`);
  }
}

export function noContextError(name: string): SlipwayError {
  return new SlipwayError('USAGE', `"${name}" is a machine without a docker context`, {
    hint: `eval "$(slipway env ${name})" works without one`,
  });
}

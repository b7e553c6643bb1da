import { z } from 'zod';
import { removeMachine } from '../../operations/remove.ts';
import { defineCommand, type Command } from '../command.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import { requireMachines, runForEach } from './for-each-machine.ts';

const args = z.object({
  deprovision: z.boolean().default(false).meta({ description: 'Also undo what provisioning changed on the host' }),
  force: z
    .boolean()
    .default(false)
    .meta({ description: 'Continue if the host does not answer or the record is broken', short: 'f' }),
  yes: z.boolean().default(false).meta({ description: 'Accepted for scripts; rm never asks', short: 'y' }),
  sudoPassword: sudoPasswordOption,
});

export const rm: Command<typeof args> = defineCommand({
  name: 'rm',
  summary: 'Remove machines: their resources, client settings and records',
  usage: '<names...>',
  args,
  async run({ positionals, args: { deprovision, force } }, cli) {
    await requireMachines(positionals, cli, force ? 'allowed' : 'refused');
    return await runForEach(positionals, cli, async (name, world) => {
      const removal = await removeMachine(name, { deprovision, force }, world);
      const { stays, contextReset } = removal;
      const lines = [
        `${name} is removed${stays === undefined ? '' : `; ${stays}`}`,
        ...(contextReset ? ["The docker CLI's current context is the default again"] : []),
      ];
      return { json: removal, text: lines.join('\n') };
    });
  },
});

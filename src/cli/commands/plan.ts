import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { hasWork } from '../../fleet/plan-fleet.ts';
import { fleetOptions, toItemDocument, loadFleetPlan, formatFleetPlan } from '../fleet-output.ts';

const args = z.object({
  ...fleetOptions,
  exitCode: z
    .boolean()
    .default(false)
    .meta({ description: 'End with status 1 where there is something to do, for scripts' }),
  schema: z.boolean().default(false).meta({ description: 'Print the JSON Schema of such files, for editors' }),
});

export const plan: Command<typeof args> = defineCommand({
  name: 'plan',
  summary: 'Show what would make the machines what machines.yaml says, field by field',
  usage: '[names...]',
  args,
  details: 'Reads the file and the records of this computer: nobody else is asked, and nothing changes.',
  async run({ positionals, args: { file, prune, exitCode, schema } }, cli) {
    if (schema) {
      const { fleetJsonSchema } = await import('../../fleet/file-schema.ts');
      const json = fleetJsonSchema();
      return { json, text: JSON.stringify(json, null, 2) };
    }
    const planned = await loadFleetPlan({ file, prune, names: positionals }, cli);
    const todo = planned.items.filter(hasWork).length;
    return {
      json: { file, fleet: planned.fleetId, todo, machines: planned.items.map(toItemDocument) },
      text: formatFleetPlan(planned),
      ...(exitCode && todo > 0 ? { status: 1 } : {}),
    };
  },
});

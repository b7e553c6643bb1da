import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { hasWork } from '../../fleet/plan-fleet.ts';
import { fleetOptions, toItemDocument, loadFleetPlan, formatFleetPlan } from '../fleet-output.ts';

const args = z.object({
  ...fleetOptions,
  exitCode: z.boolean().default(false).meta({ description: 'Exit with status 1 if there are changes to apply' }),
  schema: z.boolean().default(false).meta({ description: 'Print the JSON Schema of machines.yaml, for editors' }),
});

export const plan: Command<typeof args> = defineCommand({
  name: 'plan',
  summary: 'Show what apply would change, field by field',
  usage: '[names...]',
  args,
  details: 'Reads only the file and the records on this computer, and changes nothing.',
  async run({ positionals, args: { file, prune, exitCode, schema } }, cli) {
    if (schema) {
      const { fleetJsonSchema } = await import('../../fleet/file-schema.ts');
      const json = fleetJsonSchema();
      return { json, text: JSON.stringify(json, null, 2) };
    }
    const fleetPlan = await loadFleetPlan({ file, prune, names: positionals }, cli);
    const todo = fleetPlan.items.filter(hasWork).length;
    return {
      json: { file, fleet: fleetPlan.fleetId, todo, machines: fleetPlan.items.map(toItemDocument) },
      text: formatFleetPlan(fleetPlan),
      ...(exitCode && todo > 0 ? { status: 1 } : {}),
    };
  },
});

import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { hasWork } from '../../fleet/plan.ts';
import { fleetOptions, itemDocument, plannedFleet, shownFleet } from '../fleet.ts';

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
  words: '[names...]',
  args,
  details: 'Reads the file and the records of this computer: nobody else is asked, and nothing changes.',
  async run({ words, args: { file, prune, exitCode, schema } }, cli) {
    if (schema) {
      const { jsonSchema } = await import('../../fleet/schema.ts');
      const json = jsonSchema();
      return { json, text: JSON.stringify(json, null, 2) };
    }
    const planned = await plannedFleet({ file, prune, names: words }, cli);
    const todo = planned.items.filter(hasWork).length;
    return {
      json: { file, fleet: planned.mark, todo, machines: planned.items.map(itemDocument) },
      text: shownFleet(planned),
      ...(exitCode && todo > 0 ? { status: 1 } : {}),
    };
  },
});

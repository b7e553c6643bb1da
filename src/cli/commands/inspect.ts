import { z } from 'zod';
import { toPublicRecord } from '../../machine/store.ts';
import { defineCommand, type Command } from '../command.ts';
import { formatOptionMeta } from '../format-option.ts';
import { compileDocumentFormat } from '../../terminal/output-format.ts';

const args = z.object({ format: z.string().optional().meta(formatOptionMeta('.spec.driver')) });

export const inspect: Command<typeof args> = defineCommand({
  name: 'inspect',
  summary: 'Print the records of machines as JSON, without secrets',
  usage: '<names...>',
  details: 'Prints one record for one name, and a list for several. With --format it prints one line per machine.',
  args,
  async run({ positionals, args: { format: template } }, { world, screen }) {
    const format = compileDocumentFormat(template, screen);
    const records = await Promise.all(positionals.map(async (name) => toPublicRecord(await world.store.read(name))));
    const json = records.length === 1 ? records[0] : records;
    return { json, text: format ? records.map(format).join('\n') : JSON.stringify(json, null, 2) };
  },
});

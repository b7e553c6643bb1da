import { z } from 'zod';
import { toPublicRecord } from '../../machine/store.ts';
import { defineCommand, type Command } from '../command.ts';
import { formatOptionMeta } from '../format-option.ts';
import { compileDocumentFormat } from '../../terminal/output-format.ts';

const args = z.object({ format: z.string().optional().meta(formatOptionMeta('.spec.driver')) });

export const inspect: Command<typeof args> = defineCommand({
  name: 'inspect',
  summary: 'Print the record of machines as JSON; it holds no secret',
  usage: '<names...>',
  details: 'With one name it is that record, with several a list of them; with --format it is one text a machine.',
  args,
  async run({ positionals, args: given }, { world, screen }) {
    const format = compileDocumentFormat(given.format, screen);
    const records = await Promise.all(positionals.map(async (name) => toPublicRecord(await world.store.read(name))));
    const json = records.length === 1 ? records[0] : records;
    return { json, text: format ? records.map(format).join('\n') : JSON.stringify(json, null, 2) };
  },
});

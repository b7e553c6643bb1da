import { z } from 'zod';
import { publicRecord } from '../../machine/store.ts';
import { defineCommand, type Command } from '../command.ts';
import { formatOption } from '../format-option.ts';
import { documentFormat } from '../../terminal/format.ts';

const args = z.object({ format: z.string().optional().meta(formatOption('.spec.driver')) });

export const inspect: Command<typeof args> = defineCommand({
  name: 'inspect',
  summary: 'Print the record of machines as JSON; it holds no secret',
  words: '<names...>',
  details: 'With one name it is that record, with several a list of them; with --format it is one text a machine.',
  args,
  async run({ words, args: given }, { world, screen }) {
    const format = documentFormat(given.format, screen);
    const records = await Promise.all(words.map(async (name) => publicRecord(await world.store.read(name))));
    const json = records.length === 1 ? records[0] : records;
    return { json, text: format ? records.map(format).join('\n') : JSON.stringify(json, null, 2) };
  },
});

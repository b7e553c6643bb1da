import { z } from 'zod';
import { publicRecord } from '../../store.ts';
import { defineCommand, type Command } from '../command.ts';

const args = z.object({});

export const inspect: Command<typeof args> = defineCommand({
  name: 'inspect',
  summary: 'Print the record of a machine as JSON; it holds no secret',
  words: '<name>',
  args,
  async run({ words: [name = ''] }, { world }) {
    const machine = publicRecord(await world.store.read(name));
    return { json: machine, text: JSON.stringify(machine, null, 2) };
  },
});

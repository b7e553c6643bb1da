import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { readyMachine } from './ready.ts';

const args = z.object({});

export const url: Command<typeof args> = defineCommand({
  name: 'url',
  summary: 'Print the URL of an engine',
  words: '<name>',
  args,
  async run({ words: [name = ''] }, { world }) {
    const { endpoint } = await readyMachine(name, world.store);
    return { json: { name, url: endpoint.url }, text: endpoint.url };
  },
});

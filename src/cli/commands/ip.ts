import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { hostOf } from './ready.ts';

const args = z.object({});

export const ip: Command<typeof args> = defineCommand({
  name: 'ip',
  summary: 'Print the address of machines, one a line',
  words: '<names...>',
  args,
  async run({ words }, { world }) {
    const addresses = await Promise.all(words.map(async (name) => (await hostOf(name, world.store)).address));
    return { json: words.map((name, index) => ({ name, address: addresses[index] })), text: addresses.join('\n') };
  },
});

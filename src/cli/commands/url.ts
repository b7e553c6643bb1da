import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { requireReadyMachine } from '../../machine/require-machine.ts';

const args = z.object({});

export const url: Command<typeof args> = defineCommand({
  name: 'url',
  summary: 'Print the URL of an engine',
  usage: '<name>',
  args,
  async run({ positionals: [name = ''] }, { world }) {
    const { endpoint } = await requireReadyMachine(name, world.store);
    return { json: { name, url: endpoint.url }, text: endpoint.url };
  },
});

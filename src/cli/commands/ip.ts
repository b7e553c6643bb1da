import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { requireHost } from '../../machine/require-machine.ts';

const args = z.object({});

export const ip: Command<typeof args> = defineCommand({
  name: 'ip',
  summary: 'Print the addresses of machines, one per line',
  usage: '<names...>',
  args,
  async run({ positionals }, { world }) {
    // From the records, which `create` and `start` update: no request to a provider.
    const addresses = await Promise.all(
      positionals.map(async (name) => (await requireHost(name, world.store)).address),
    );
    return {
      json: positionals.map((name, index) => ({ name, address: addresses[index] })),
      text: addresses.join('\n'),
    };
  },
});

import { z } from 'zod';
import { startMachine } from '../../lifecycle/run.ts';
import { defineCommand, type Command } from '../command.ts';
import { inTurn } from './each.ts';

const args = z.object({});

export const start: Command<typeof args> = defineCommand({
  name: 'start',
  summary: 'Start machines that are stopped, and wait for their engines',
  words: '<names...>',
  args,
  details: 'Where an address or a port had to change, the client profiles follow.',
  async run({ words }, cli) {
    return await inTurn(words, cli, async (name, world) => {
      const { endpoint } = await startMachine(name, world);
      return { json: { name, url: endpoint.url }, text: `${name} runs: ${endpoint.url}` };
    });
  },
});

import { z } from 'zod';
import { startMachine } from '../../operations/power.ts';
import type { Command } from '../command.ts';
import { defineVerb } from './each.ts';

const args = z.object({});

export const start: Command<typeof args> = defineVerb({
  name: 'start',
  summary: 'Start machines that are stopped, and wait for their engines',
  args,
  details: 'Where an address or a port had to change, the client profiles follow.',
  async does(name, _args, world) {
    const { endpoint } = await startMachine(name, world);
    return { json: { name, url: endpoint.url }, text: `${name} runs: ${endpoint.url}` };
  },
});

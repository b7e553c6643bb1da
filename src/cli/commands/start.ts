import { z } from 'zod';
import { startMachine } from '../../operations/power.ts';
import type { Command } from '../command.ts';
import { defineMachineCommand } from './for-each-machine.ts';

const args = z.object({});

export const start: Command<typeof args> = defineMachineCommand({
  name: 'start',
  summary: 'Start stopped machines, and wait for their engines',
  args,
  details: 'If an address or a port has changed, the client settings are updated.',
  async runOnMachine(name, _args, world) {
    const { endpoint } = await startMachine(name, world);
    return { json: { name, url: endpoint.url }, text: `${name} runs: ${endpoint.url}` };
  },
});

import { z } from 'zod';
import { killMachine } from '../../operations/power.ts';
import type { Command } from '../command.ts';
import { defineMachineCommand } from './for-each-machine.ts';

const args = z.object({});

export const kill: Command<typeof args> = defineMachineCommand({
  name: 'kill',
  summary: 'Power off machines immediately, without a shutdown',
  args,
  async runOnMachine(name, _args, world) {
    await killMachine(name, world);
    return { json: { name }, text: `${name} is stopped` };
  },
});

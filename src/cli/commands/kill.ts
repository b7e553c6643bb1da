import { z } from 'zod';
import { killMachine } from '../../operations/power.ts';
import type { Command } from '../command.ts';
import { defineVerb } from './each.ts';

const args = z.object({});

export const kill: Command<typeof args> = defineVerb({
  name: 'kill',
  summary: 'End machines at once, as a power cut would',
  args,
  async does(name, _args, world) {
    await killMachine(name, world);
    return { json: { name }, text: `${name} is stopped` };
  },
});

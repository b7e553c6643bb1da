import { z } from 'zod';
import { stopMachine } from '../../lifecycle/run.ts';
import { defineCommand, type Command } from '../command.ts';
import { inTurn } from './each.ts';

export const grace = z
  .int()
  .min(0)
  .max(3600)
  .default(90)
  .meta({ description: 'Seconds that a shutdown may take before the machine is ended', short: 't', value: 'seconds' });

const args = z.object({ timeout: grace });

export const stop: Command<typeof args> = defineCommand({
  name: 'stop',
  summary: 'Shut machines down; what is on their disks stays',
  words: '<names...>',
  args,
  async run({ words, args: { timeout } }, cli) {
    return await inTurn(words, cli, async (name, world) => {
      await stopMachine(name, timeout, world);
      return { json: { name }, text: `${name} is stopped` };
    });
  },
});

import { z } from 'zod';
import { killMachine } from '../../lifecycle/run.ts';
import { defineCommand, type Command } from '../command.ts';
import { inTurn } from './each.ts';

const args = z.object({});

export const kill: Command<typeof args> = defineCommand({
  name: 'kill',
  summary: 'End machines at once, as a power cut would',
  words: '<names...>',
  args,
  async run({ words }, cli) {
    return await inTurn(words, cli, async (name, world) => {
      await killMachine(name, world);
      return { json: { name }, text: `${name} is stopped` };
    });
  },
});

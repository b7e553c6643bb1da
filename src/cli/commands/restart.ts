import { z } from 'zod';
import { refuseEnded } from '../../lifecycle/life.ts';
import { startMachine, stopMachine } from '../../lifecycle/run.ts';
import { defineCommand, type Command } from '../command.ts';
import { inTurn } from './each.ts';
import { grace } from './stop.ts';

const args = z.object({ timeout: grace });

export const restart: Command<typeof args> = defineCommand({
  name: 'restart',
  summary: 'Shut machines down and start them again',
  words: '<names...>',
  args,
  async run({ words, args: { timeout } }, cli) {
    return await inTurn(words, cli, async (name, world) => {
      // Refused now, and not when it is stopped already.
      refuseEnded(await world.store.read(name), world.now());
      await stopMachine(name, timeout, world);
      const { endpoint } = await startMachine(name, world);
      return { json: { name, url: endpoint.url }, text: `${name} runs: ${endpoint.url}` };
    });
  },
});

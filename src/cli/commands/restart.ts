import { z } from 'zod';
import { restartMachine } from '../../operations/power.ts';
import type { Command } from '../command.ts';
import { defineVerb } from './each.ts';
import { grace } from './stop.ts';
import { sudoPassword } from '../../machine/spec.ts';

const args = z.object({ timeout: grace, sudoPassword });

export const restart: Command<typeof args> = defineVerb({
  name: 'restart',
  summary: 'Shut machines down and start them again',
  args,
  details: 'A machine of yours that answers SSH is told to boot, and waited for.',
  async does(name, { timeout }, world) {
    const { endpoint } = await restartMachine(name, timeout, world);
    return { json: { name, url: endpoint.url }, text: `${name} runs: ${endpoint.url}` };
  },
});

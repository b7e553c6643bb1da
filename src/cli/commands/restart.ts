import { z } from 'zod';
import { restartMachine } from '../../operations/power.ts';
import type { Command } from '../command.ts';
import { defineMachineCommand } from './for-each-machine.ts';
import { shutdownTimeout } from './stop.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';

const args = z.object({ timeout: shutdownTimeout, sudoPassword: sudoPasswordOption });

export const restart: Command<typeof args> = defineMachineCommand({
  name: 'restart',
  summary: 'Shut machines down and start them again',
  args,
  details: 'A host that you own is rebooted over SSH, and the command waits for it.',
  async runOnMachine(name, { timeout }, world) {
    const { endpoint } = await restartMachine(name, timeout, world);
    return { json: { name, url: endpoint.url }, text: `${name} runs: ${endpoint.url}` };
  },
});

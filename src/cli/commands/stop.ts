import { z } from 'zod';
import { stopMachine, suspendMachine } from '../../operations/power.ts';
import type { Command } from '../command.ts';
import { defineMachineCommand } from './for-each-machine.ts';

export const shutdownTimeout = z
  .int()
  .min(0)
  .max(3600)
  .default(90)
  .meta({ description: 'Seconds that a shutdown may take before the machine is ended', short: 't', value: 'seconds' });

const args = z.object({
  timeout: shutdownTimeout,
  suspend: z.boolean().default(false).meta({ description: 'Keep their memory: start goes on where they were' }),
});

export const stop: Command<typeof args> = defineMachineCommand({
  name: 'stop',
  summary: 'Shut machines down; what is on their disks stays',
  args,
  async runOnMachine(name, { timeout, suspend }, world) {
    if (suspend) {
      await suspendMachine(name, world);
      return { json: { name }, text: `${name} is suspended; go on with: slipway start ${name}` };
    }
    await stopMachine(name, timeout, world);
    return { json: { name }, text: `${name} is stopped` };
  },
});

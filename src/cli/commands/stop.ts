import { z } from 'zod';
import { stopMachine, suspendMachine } from '../../operations/power.ts';
import type { Command } from '../command.ts';
import { defineMachineCommand } from './for-each-machine.ts';

export const shutdownTimeout = z.int().min(0).max(3600).default(90).meta({
  description: 'Seconds to wait for the shutdown before the machine is powered off',
  short: 't',
  value: 'seconds',
});

const args = z.object({
  timeout: shutdownTimeout,
  suspend: z
    .boolean()
    .default(false)
    .meta({ description: 'Save the memory of the machines, so that start resumes them' }),
});

export const stop: Command<typeof args> = defineMachineCommand({
  name: 'stop',
  summary: 'Shut down machines; their disks are kept',
  args,
  async runOnMachine(name, { timeout, suspend }, world) {
    if (suspend) {
      await suspendMachine(name, world);
      return { json: { name }, text: `${name} is suspended. To resume it: slipway start ${name}` };
    }
    await stopMachine(name, timeout, world);
    return { json: { name }, text: `${name} is stopped` };
  },
});

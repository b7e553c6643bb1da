import { defineOld } from '../command.ts';
import { configOf } from '../config.ts';
import { Failure } from '../failure.ts';
import { stateWithin } from '../machines.ts';
import { activeBy } from '../rows.ts';

export const active = defineOld({
  name: 'active',
  summary: 'Print which machine is active',
  operands: '[arg...]',
  flags: [{ names: ['timeout', 't'], kind: 'number', usage: 'Timeout in seconds, default to 10s', initial: 10 }],
  async run(call) {
    const { env, out, values, words, world } = call;
    if (words.length > 0) throw new Failure('Error: Too many arguments given');
    const none = new Failure('No active host found');
    // Whom the client talks to is told by the records; the machine alone is asked whether it runs.
    for (const listed of await world.store.list()) {
      if (!('machine' in listed)) continue;
      const { machine } = listed;
      if (activeBy(machine, await configOf(machine, call), env) === undefined) continue;
      const seen = await stateWithin(machine, world, Number(values.timeout));
      if (seen === undefined) throw new Failure('Error getting active host: timeout');
      if (seen.state !== 'Running') throw none;
      return out(listed.name);
    }
    throw none;
  },
});

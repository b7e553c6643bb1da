import { defineDockerMachineCommand } from '../docker-machine-command.ts';
import { loadConfigJson } from '../load-config-json.ts';
import { DockerMachineError } from '../docker-machine-error.ts';
import { getMachineStateWithin } from '../machine-arguments.ts';
import { activeKindOf } from '../ls-rows.ts';

export const active = defineDockerMachineCommand({
  name: 'active',
  summary: 'Print which machine is active',
  argsUsage: '[arg...]',
  flags: [{ names: ['timeout', 't'], kind: 'number', usage: 'Timeout in seconds, default to 10s', defaultValue: 10 }],
  async run(call) {
    const { env, print, values, words, world } = call;
    if (words.length > 0) throw new DockerMachineError('Error: Too many arguments given');
    const none = new DockerMachineError('No active host found');
    // Whom the client talks to is told by the records; the machine alone is asked whether it runs.
    for (const listed of await world.store.list()) {
      if (!('machine' in listed)) continue;
      const { machine } = listed;
      if (activeKindOf(machine, await loadConfigJson(machine, call), env) === undefined) continue;
      const seen = await getMachineStateWithin(machine, world, Number(values.timeout));
      if (seen === undefined) throw new DockerMachineError('Error getting active host: timeout');
      if (seen.state !== 'Running') throw none;
      return print(listed.name);
    }
    throw none;
  },
});

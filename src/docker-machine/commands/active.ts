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
    const notFoundError = new DockerMachineError('No active host found');
    // The records show to which machine DOCKER_HOST points, so only that machine is queried.
    for (const item of await world.store.list()) {
      if (!('machine' in item)) continue;
      const { machine } = item;
      if (activeKindOf(machine, await loadConfigJson(machine, call), env) === undefined) continue;
      const answer = await getMachineStateWithin(machine, world, Number(values.timeout));
      if (answer === undefined) throw new DockerMachineError('Error getting active host: timeout');
      if (answer.state !== 'Running') throw notFoundError;
      return print(item.name);
    }
    throw notFoundError;
  },
});

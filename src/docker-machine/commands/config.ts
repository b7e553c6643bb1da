import { join } from 'node:path';
import { defineDockerMachineCommand } from '../docker-machine-command.ts';
import { loadConfigJson } from '../load-config-json.ts';
import { requireEngineAnswer, resolveMachineName, requireReadyMachine } from '../machine-arguments.ts';
import { requireSwarmUrl } from '../swarm-options.ts';

export const config = defineDockerMachineCommand({
  name: 'config',
  summary: 'Print the connection config for machine',
  argsUsage: '[arg...]',
  flags: [{ names: ['swarm'], kind: 'switch', usage: 'Display the Swarm config instead of the Docker daemon' }],
  async run(call) {
    const { print, values, world } = call;
    const machine = await requireReadyMachine(await resolveMachineName(call), world);
    await requireEngineAnswer(machine, world, 'Error running connection boilerplate: ');
    const { tls } = world.store.paths(machine.spec.name);
    const url =
      values.swarm === true
        ? requireSwarmUrl(
            (await loadConfigJson(machine, call)).HostOptions.SwarmOptions,
            machine.host.address,
            machine.spec.name,
          )
        : machine.endpoint.url;
    const file = (name: string): string => JSON.stringify(join(tls, name));
    const secured = [
      '--tlsverify',
      `--tlscacert=${file('ca.pem')}`,
      `--tlscert=${file('cert.pem')}`,
      `--tlskey=${file('key.pem')}`,
    ];
    for (const line of [...(machine.endpoint.tls ? secured : []), `-H=${url}`]) print(line);
  },
});

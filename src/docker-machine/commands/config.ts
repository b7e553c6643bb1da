import { join } from 'node:path';
import { defineDockerMachineCommand } from '../docker-machine-command.ts';
import { requireEngineAnswer, resolveMachineName, requireReadyMachine } from '../machine-arguments.ts';
import { resolveSwarmUrl } from '../load-config-json.ts';

export const config = defineDockerMachineCommand({
  name: 'config',
  summary: 'Print the connection config for machine',
  argsUsage: '[arg...]',
  flags: [{ names: ['swarm'], kind: 'switch', usage: 'Display the Swarm config instead of the Docker daemon' }],
  async run(call) {
    const { print, values, world } = call;
    const machine = await requireReadyMachine(await resolveMachineName(call), world);
    await requireEngineAnswer(machine, world, 'Error running connection boilerplate: ');
    const url = values.swarm === true ? await resolveSwarmUrl(machine, call) : machine.endpoint.url;
    const tlsFlags = machine.endpoint.tls ? formatTlsFlags(world.store.paths(machine.spec.name).tls) : [];
    for (const line of [...tlsFlags, `-H=${url}`]) print(line);
  },
});

/** Returns docker's flags for the certificates in a folder. */
function formatTlsFlags(folder: string): readonly string[] {
  const file = (name: string): string => JSON.stringify(join(folder, name));
  return [
    '--tlsverify',
    `--tlscacert=${file('ca.pem')}`,
    `--tlscert=${file('cert.pem')}`,
    `--tlskey=${file('key.pem')}`,
  ];
}

import { join } from 'node:path';
import { defineOld } from '../command.ts';
import { configOf } from '../config.ts';
import { mustAnswer, nameIn, readyNamed } from '../machines.ts';
import { swarmUrl } from '../swarm.ts';

export const config = defineOld({
  name: 'config',
  summary: 'Print the connection config for machine',
  operands: '[arg...]',
  flags: [{ names: ['swarm'], kind: 'switch', usage: 'Display the Swarm config instead of the Docker daemon' }],
  async run(call) {
    const { out, values, world } = call;
    const machine = await readyNamed(await nameIn(call), world);
    await mustAnswer(machine, world, 'Error running connection boilerplate: ');
    const { tls } = world.store.paths(machine.spec.name);
    const url =
      values.swarm === true
        ? swarmUrl((await configOf(machine, call)).HostOptions.SwarmOptions, machine.host.address, machine.spec.name)
        : machine.endpoint.url;
    const file = (name: string): string => JSON.stringify(join(tls, name));
    const secured = [
      '--tlsverify',
      `--tlscacert=${file('ca.pem')}`,
      `--tlscert=${file('cert.pem')}`,
      `--tlskey=${file('key.pem')}`,
    ];
    for (const line of [...(machine.endpoint.tls ? secured : []), `-H=${url}`]) out(line);
  },
});

import { z } from 'zod';
import { lookAt } from '../../look.ts';
import { contextName } from '../../provision/profiles/docker-context.ts';
import { defineCommand, type Command } from '../command.ts';
import { page } from '../print.ts';

const args = z.object({
  timeout: z
    .int()
    .min(1)
    .max(600)
    .default(5)
    .meta({ description: 'Seconds that it may take to answer', short: 't', value: 'seconds' }),
});

export const status: Command<typeof args> = defineCommand({
  name: 'status',
  summary: 'Show how a machine is; exit status 0 when its engine answers, else 1',
  words: '<name>',
  args,
  async run({ words: [name = ''], args: { timeout } }, { world }) {
    const machine = await world.store.read(name);
    const look = await lookAt(machine, world, timeout);
    const { host, endpoint, spec } = machine;
    const context =
      machine.phase === 'ready' && spec.profiles.includes('docker-context') ? contextName(name) : undefined;
    const rows: readonly (readonly [string, string | undefined])[] = [
      ['Name', name],
      ['State', look.state],
      ['Trouble', look.trouble || undefined],
      ['Driver', spec.driver],
      ['Address', host?.address],
      ['SSH', host?.ssh && `${host.ssh.user}@${host.ssh.address}:${host.ssh.port}`],
      ['Engine', look.engine],
      ['URL', endpoint?.url],
      ['Certificates', look.days === undefined ? undefined : `good for ${look.days} days`],
      ['Connect', context === undefined ? undefined : `docker --context ${context} ps`],
    ];
    const shown = rows.filter((row): row is readonly [string, string] => row[1] !== undefined);
    return {
      json: {
        name,
        ...look,
        engine: look.engine ?? null,
        days: look.days ?? null,
        driver: spec.driver,
        address: host?.address ?? null,
        url: endpoint?.url ?? null,
        context: context ?? null,
      },
      text: page(shown),
      status: look.state === 'running' ? 0 : 1,
    };
  },
});

import { z } from 'zod';
import { regenerateCertificates } from '../../operations/regenerate-certificates.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import { defineCommand, type Command } from '../command.ts';
import { requireMachines, runForEach } from './for-each-machine.ts';

const args = z.object({
  all: z.boolean().default(false).meta({
    description: 'Also a new CA: whatever the old one has signed, and was copied elsewhere, is refused from then on',
  }),
  yes: z.boolean().default(false).meta({ description: 'Ask nothing', short: 'y' }),
  sudoPassword: sudoPasswordOption,
});

export const regenerateCerts: Command<typeof args> = defineCommand({
  name: 'regenerate-certs',
  summary: 'Make new certificates for engines and their clients',
  usage: '<names...>',
  args,
  details:
    "The CA stays, and with it the access of other clients; with --all it goes too. The engine restarts once, and its containers run on, but for those of a swarm's node and where daemon.json says live-restore: false.",
  async run({ positionals, args: { all, yes } }, cli) {
    await requireMachines(positionals, cli);
    if (all && !yes && cli.interactive) {
      const { confirm } = await import('../../terminal/questions.ts');
      const question = `Make a new CA, so that copies of the certificates of ${positionals.join(', ')} open nothing any more?`;
      if (!(await confirm(question, false))) return { json: [], text: 'Nothing was done' };
    }
    return await runForEach(positionals, cli, async (name, world) => {
      const { endpoint } = await regenerateCertificates(name, { all }, world);
      return { json: { name, url: endpoint.url }, text: `${name} has new certificates: ${endpoint.url}` };
    });
  },
});

import { z } from 'zod';
import { regenerateCertificates } from '../../operations/regenerate-certificates.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import { defineCommand, type Command } from '../command.ts';
import { requireMachines, runForEach } from './for-each-machine.ts';

const args = z.object({
  all: z.boolean().default(false).meta({
    description: 'Also create a new CA: copies of certificates that the old one signed no longer work',
  }),
  yes: z.boolean().default(false).meta({ description: 'Do not ask for confirmation', short: 'y' }),
  sudoPassword: sudoPasswordOption,
});

export const regenerateCerts: Command<typeof args> = defineCommand({
  name: 'regenerate-certs',
  summary: 'Create new certificates for engines and their clients',
  usage: '<names...>',
  args,
  details:
    'Keeps the CA, so that other clients keep their access; --all replaces it. The engine restarts once. Its containers keep running, except on a node of a swarm and where daemon.json sets live-restore to false.',
  async run({ positionals, args: { all, yes } }, cli) {
    await requireMachines(positionals, cli);
    if (all && !yes && cli.interactive) {
      const { confirm } = await import('../../terminal/questions.ts');
      const question = `Create a new CA? Copies of the certificates of ${positionals.join(', ')} will no longer work.`;
      if (!(await confirm(question, false))) return { json: [], text: 'Canceled: nothing was changed' };
    }
    return await runForEach(positionals, cli, async (name, world) => {
      const { endpoint } = await regenerateCertificates(name, { all }, world);
      return { json: { name, url: endpoint.url }, text: `${name} has new certificates: ${endpoint.url}` };
    });
  },
});

import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { prepareSshRoute, sshArgv } from '../../openssh/openssh-command.ts';
import { runInTerminal } from '../../terminal/run-program.ts';

const args = z.object({});

export const ssh: Command<typeof args> = defineCommand({
  name: 'ssh',
  summary: 'Open a shell on a machine, or run a command, with ssh',
  usage: '<name> [command...]',
  args,
  details:
    'Uses your own ssh with the pinned host key. Everything after the name is passed to ssh: slipway ssh web -- -L 8080:localhost:80. Exits with the exit status of ssh.',
  passThrough: true,
  async run({ positionals: [name = '', ...rest] }, { world }) {
    const command = rest[0] === '--' ? rest.slice(1) : rest;
    const status = await runInTerminal('ssh', sshArgv(await prepareSshRoute(name, world), command), world);
    return { json: { name, status }, text: '', status };
  },
});

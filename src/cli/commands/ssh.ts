import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { prepareSshRoute, sshArgv } from '../../openssh/openssh-command.ts';
import { runInTerminal } from '../../terminal/run-program.ts';

const args = z.object({});

export const ssh: Command<typeof args> = defineCommand({
  name: 'ssh',
  summary: 'Open a shell on a machine, or run a command; its exit status is passed on',
  usage: '<name> [command...]',
  args,
  details:
    'Uses your own ssh with the pinned host key. What follows the name goes to ssh as it is: slipway ssh web -- -L 8080:localhost:80',
  passThrough: true,
  async run({ positionals: [name = '', ...rest] }, { world }) {
    const command = rest[0] === '--' ? rest.slice(1) : rest;
    const status = await runInTerminal('ssh', sshArgv(await prepareSshRoute(name, world.store), command), world.signal);
    return { json: { name, status }, text: '', status };
  },
});

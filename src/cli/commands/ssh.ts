import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';
import { attached, routeTo, sshArgv } from '../openssh.ts';

const args = z.object({});

export const ssh: Command<typeof args> = defineCommand({
  name: 'ssh',
  summary: 'Open a shell on a machine, or run a command; its exit status is passed on',
  words: '<name> [command...]',
  args,
  details:
    'Uses your own ssh with the pinned host key. What follows the name goes to ssh as it is: slipway ssh web -- -L 8080:localhost:80',
  passThrough: true,
  async run({ words: [name = '', ...rest] }, { world }) {
    const command = rest[0] === '--' ? rest.slice(1) : rest;
    const status = await attached('ssh', sshArgv(await routeTo(name, world.store), command), world.signal);
    return { json: { name, status }, text: '', status };
  },
});

import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { mountFolder, unmountFolder } from '../../openssh/mount-folder.ts';
import { toCommandLine } from '../../ssh/shell.ts';
import { defineCommand, type Command } from '../command.ts';

const args = z.object({
  unmount: z.boolean().default(false).meta({ description: 'Unmount the folder', short: 'u' }),
  yes: z.boolean().default(false).meta({ description: 'Install missing programs without asking', short: 'y' }),
});

export const mount: Command<typeof args> = defineCommand({
  name: 'mount',
  summary: 'Mount a folder of a machine on this computer with sshfs',
  usage: '<name:path> [mountpoint]',
  args,
  details:
    'Uses your own sshfs with the pinned host key, and reconnects when the connection is lost. The mountpoint is an empty folder; the default is the same path on this computer. To unmount, run slipway mount -u MOUNTPOINT. Exits with the exit status of sshfs.',
  async run({ positionals: [remote = '', mountpoint], args: { unmount, yes } }, cli) {
    if (!unmount) return await mountFolder(remote, mountpoint, yes, cli);
    if (mountpoint === undefined) return await unmountFolder(remote, cli);
    throw new SlipwayError('USAGE', '--unmount takes the mountpoint alone', {
      hint: toCommandLine([cli.program, 'mount', '-u', mountpoint]),
    });
  },
});

import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { mountFolder, unmountFolder } from '../../openssh/mount-folder.ts';
import { formatCommandLine } from '../../profiles/shell-env.ts';
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
    'Uses your own sshfs with the pinned host key, and reconnects when the connection is lost. The mountpoint is an empty folder, by default the one with the same path on this computer. To unmount, run slipway mount -u MOUNTPOINT. Exits with the exit status of sshfs.',
  async run({ positionals: [first = '', second], args: { unmount, yes } }, cli) {
    // The operands are `NAME:PATH [MOUNTPOINT]`, but with --unmount only `MOUNTPOINT`.
    if (!unmount) return await mountFolder(first, second, { yes }, cli);
    if (second === undefined) return await unmountFolder(first, cli);
    throw new SlipwayError('USAGE', '--unmount takes the mountpoint alone', {
      hint: formatCommandLine([cli.program, 'mount', '-u', second], cli.world.computer),
    });
  },
});

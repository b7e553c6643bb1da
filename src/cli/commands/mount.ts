import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../../computer/files.ts';
import { SlipwayError, systemCode } from '../../errors.ts';
import { findProgram, sshfsProgram, sshProgram } from '../../computer/programs.ts';
import { keepaliveOptions, formatSshConfig } from '../../profiles/ssh-options.ts';
import { toCommandLine } from '../../ssh/shell.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../command.ts';
import { type InstallContext, installMissing } from '../install-programs.ts';
import { runInTerminal, prepareSshRoute, parsePathSpec, sshfsArgv } from '../openssh-command.ts';

const args = z.object({
  unmount: z.boolean().default(false).meta({ description: 'Let go what is mounted there', short: 'u' }),
  yes: z.boolean().default(false).meta({ description: 'Install missing programs without asking', short: 'y' }),
});

export const mount: Command<typeof args> = defineCommand({
  name: 'mount',
  summary: "Show a folder of a machine on this computer; sshfs' exit status is passed on",
  usage: '<name:path> [mountpoint]',
  args,
  details:
    'Uses your own sshfs with the pinned host key, and connects again where the connection is lost. The mountpoint is an empty folder; without one it is the same path here. To let go: slipway mount -u MOUNTPOINT',
  async run({ positionals: [what = '', where], args: { unmount, yes } }, cli) {
    if (!unmount) return await mountFolder(what, where, yes, cli);
    if (where === undefined) return await unmountFolder(what, cli);
    throw new SlipwayError('USAGE', 'With --unmount the mountpoint is named alone', {
      hint: toCommandLine([cli.program, 'mount', '-u', where]),
    });
  },
});

/** Where one program or the other mounts. */
type MountContext = InstallContext & Pick<Cli, 'program'>;

export async function mountFolder(
  what: string,
  where: string | undefined,
  yes: boolean,
  cli: MountContext,
): Promise<CommandResult> {
  const { store, computer, signal } = cli.world;
  const { machine, path } = parsePathSpec(what, await store.listNames());
  if (machine === undefined) {
    const known = (await store.listNames()).includes(what);
    throw new SlipwayError(
      'USAGE',
      known
        ? `Which folder of "${what}" is not said; write ${what}:path`
        : `${JSON.stringify(what)} names no machine; write NAME:path`,
      { hint: `For example: ${cli.program} mount ${known ? what : 'web'}:/srv ./srv` },
    );
  }
  if (where === undefined && !path.startsWith('/')) {
    throw new SlipwayError('USAGE', `Where to mount ${JSON.stringify(what)} is not said`, {
      hint: `For example: ${toCommandLine([cli.program, 'mount', what, `./${path || machine}`])}`,
    });
  }
  const route = await prepareSshRoute(machine, store);
  const consentCommand = toCommandLine([cli.program, 'mount', what, ...(where === undefined ? [] : [where]), '--yes']);
  await installMissing([sshfsProgram(computer), sshProgram], { yes, consentCommand }, cli);
  const windows = computer.platform === 'win32';
  const mountpoint = windows ? (where ?? path) : resolve(where ?? path);
  // There it is a drive's letter, or a folder that must not exist.
  if (!windows) await requireEmptyFolder(mountpoint, cli);
  // It is read again whenever the connection is made anew, so it lies where the machine's other files lie.
  const config = join(store.paths(machine).folder, 'sshfs_config');
  await writeFileAtomic(config, formatSshConfig({ [machine]: route }, keepaliveOptions), 0o600);
  const program = await findProgram(sshfsProgram(computer), computer);
  const status = await runInTerminal(program ?? 'sshfs', sshfsArgv({ machine, path, config, mountpoint }), signal);
  if (status === 0) cli.say(`Mounted; let it go with: ${toCommandLine([cli.program, 'mount', '-u', mountpoint])}`);
  return { json: { machine, path, mountpoint, status }, text: '', status };
}

async function requireEmptyFolder(mountpoint: string, { program }: MountContext): Promise<void> {
  const letGo = toCommandLine([program, 'mount', '-u', mountpoint]);
  const there = await readdir(mountpoint).catch((error: unknown) => {
    const [message, hint] =
      {
        ENOENT: ['is not there', `Make it: ${toCommandLine(['mkdir', '-p', mountpoint])}`],
        ENOTDIR: ['is a file', 'Name an empty folder'],
        EACCES: ["can't be read: permission denied", 'Name a folder of your own'],
        ENOTCONN: ['is a mount that has lost its machine', `Let it go first: ${letGo}`],
        EIO: ['is a mount that has lost its machine', `Let it go first: ${letGo}`],
      }[systemCode(error) ?? ''] ?? [];
    if (message === undefined || hint === undefined) throw error;
    throw new SlipwayError('LOCAL_FILES', `${mountpoint} ${message}`, { hint, cause: error });
  });
  if (there.length === 0) return;
  throw new SlipwayError('LOCAL_FILES', `${mountpoint} is not empty, and a mount would hide what is in it`, {
    hint: `Name an empty folder; if it is a mount already, let it go: ${letGo}`,
  });
}

export async function unmountFolder(
  where: string,
  { world: { computer, signal } }: Pick<Cli, 'world'>,
): Promise<CommandResult> {
  const mountpoint = resolve(where);
  if (computer.platform === 'win32') {
    throw new SlipwayError('DRIVER_UNSUPPORTED', 'On Windows a mount is there for as long as its sshfs runs', {
      hint: 'End it: taskkill /im sshfs.exe',
    });
  }
  const linux = computer.platform === 'linux';
  const [command = '', ...alternatives] = linux ? ['fusermount3', 'fusermount'] : ['umount'];
  const program = await findProgram({ command, alternatives }, computer);
  if (program === undefined) {
    throw new SlipwayError('PROGRAM_MISSING', `This computer lacks ${command}, which lets go what sshfs has mounted`, {
      hint: `It comes with sshfs; as root this does the same: ${toCommandLine(['umount', mountpoint])}`,
    });
  }
  const status = await runInTerminal(program, linux ? ['-u', mountpoint] : [mountpoint], signal);
  return { json: { mountpoint, status }, text: '', status };
}

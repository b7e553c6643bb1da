import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { writeFileAtomic } from '../computer/files.ts';
import { findProgram, sshfsProgram, sshProgram } from '../computer/programs.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import { keepaliveOptions, formatSshConfig } from '../ssh/openssh-options.ts';
import { formatCommandLine } from '../profiles/shell-env.ts';
import { type InstallContext, installMissing } from '../terminal/install-programs.ts';
import { runInTerminal } from '../terminal/run-program.ts';
import { parsePathSpec, prepareSshRoute, sshfsArgv } from './openssh-command.ts';

/** What a mount needs from the program that runs it. `program` is its name in the commands that it prints. */
type MountContext = InstallContext & { readonly program: string };

/** The output of a mount with --json, and the exit status of the program that mounted the folder. */
type MountResult = { readonly json: object; readonly text: ''; readonly status: number };

type MachineFolder = { readonly machine: string; readonly path: string };

/**
 * Mounts a folder of a machine with the user's own sshfs, and installs sshfs first if the user agrees.
 * `remote` is `NAME:PATH`, and `target` the mountpoint: without it, the folder with the same path on this computer.
 */
export async function mountFolder(
  remote: string,
  target: string | undefined,
  { yes }: { readonly yes: boolean },
  context: MountContext,
): Promise<MountResult> {
  const { store, computer } = context.world;
  const { machine, path } = await parseRemote(remote, target, context);
  const route = await prepareSshRoute(machine, context.world);
  const operands = [remote, ...(target === undefined ? [] : [target])];
  const consentCommand = formatCommandLine([context.program, 'mount', ...operands, '--yes'], computer);
  await installMissing([sshfsProgram(computer), sshProgram], { yes, consentCommand }, context);
  const windows = computer.platform === 'win32';
  const mountpoint = windows ? (target ?? path) : resolve(target ?? path);
  // On Windows the mountpoint is a drive letter, or a folder that must not exist.
  if (!windows) await requireEmptyFolder(mountpoint, context);
  // sshfs reads this file again whenever it reconnects, so the file is kept with the machine's other files.
  const config = join(store.paths(machine).folder, 'sshfs_config');
  await writeFileAtomic(config, formatSshConfig({ [machine]: route }, keepaliveOptions), 0o600);
  const program = await findProgram(sshfsProgram(computer), computer);
  const status = await runInTerminal(
    program ?? 'sshfs',
    sshfsArgv({ machine, path, config, mountpoint }),
    context.world,
  );
  if (status === 0) context.say(`Mounted. To unmount: ${unmountCommand(mountpoint, context)}`);
  return { json: { machine, path, mountpoint, status }, text: '', status };
}

async function parseRemote(
  remote: string,
  target: string | undefined,
  { world, program }: MountContext,
): Promise<MachineFolder> {
  const machines = await world.store.listNames();
  const { machine, path } = parsePathSpec(remote, machines);
  if (machine === undefined) {
    const isMachine = machines.includes(remote);
    const reason = isMachine ? `names no folder of machine "${remote}"` : 'names no machine';
    throw new SlipwayError('USAGE', `${JSON.stringify(remote)} ${reason}: expected NAME:path`, {
      hint: `For example: ${program} mount ${isMachine ? remote : 'web'}:/srv ./srv`,
    });
  }
  if (target === undefined && !path.startsWith('/')) {
    throw new SlipwayError('USAGE', `A mountpoint is required for ${JSON.stringify(remote)}: its path is relative`, {
      hint: `For example: ${formatCommandLine([program, 'mount', remote, `./${path || machine}`], world.computer)}`,
    });
  }
  return { machine, path };
}

function unmountCommand(mountpoint: string, { program, world }: MountContext): string {
  return formatCommandLine([program, 'mount', '-u', mountpoint], world.computer);
}

async function requireEmptyFolder(mountpoint: string, context: MountContext): Promise<void> {
  const unmount = unmountCommand(mountpoint, context);
  const entries = await readdir(mountpoint).catch((error: unknown) => {
    const disconnected = ['is a mount whose connection is lost', `To unmount it first: ${unmount}`];
    const [message, hint] =
      {
        ENOENT: [
          'does not exist',
          `To create it: ${formatCommandLine(['mkdir', '-p', mountpoint], context.world.computer)}`,
        ],
        ENOTDIR: ['is a file', 'Name an empty folder'],
        EACCES: ["can't be read: permission denied", 'Name a folder of your own'],
        ENOTCONN: disconnected,
        EIO: disconnected,
      }[systemCode(error) ?? ''] ?? [];
    if (message === undefined || hint === undefined) throw error;
    throw new SlipwayError('LOCAL_FILES', `${mountpoint} ${message}`, { hint, cause: error });
  });
  if (entries.length === 0) return;
  throw new SlipwayError('LOCAL_FILES', `${mountpoint} is not empty, and a mount would hide its files`, {
    hint: `Name an empty folder. If it is a mount already, unmount it: ${unmount}`,
  });
}

/** Unmounts a folder that sshfs mounted. Throws DRIVER_UNSUPPORTED on Windows, where a mount ends with its sshfs. */
export async function unmountFolder(
  target: string,
  { world: { computer, signal } }: Pick<InstallContext, 'world'>,
): Promise<MountResult> {
  const mountpoint = resolve(target);
  if (computer.platform === 'win32') {
    throw new SlipwayError('DRIVER_UNSUPPORTED', 'On Windows a mount lasts as long as its sshfs runs', {
      hint: 'To end it: taskkill /im sshfs.exe',
    });
  }
  const linux = computer.platform === 'linux';
  const [command = '', ...alternatives] = linux ? ['fusermount3', 'fusermount'] : ['umount'];
  const program = await findProgram({ command, alternatives }, computer);
  if (program === undefined) {
    throw new SlipwayError('PROGRAM_MISSING', `Missing on this computer: ${command}, which unmounts folders`, {
      hint: `It is installed with sshfs. As root, this unmounts too: ${formatCommandLine(['umount', mountpoint], computer)}`,
    });
  }
  const status = await runInTerminal(program, linux ? ['-u', mountpoint] : [mountpoint], { computer, signal });
  return { json: { mountpoint, status }, text: '', status };
}

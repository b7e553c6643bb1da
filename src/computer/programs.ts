import { constants, existsSync } from 'node:fs';
import { access, lstat, readFile, stat } from 'node:fs/promises';
import { platform, userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
import type { Computer } from './computer.ts';

export type PackageManager = 'apt' | 'dnf' | 'pacman' | 'zypper' | 'brew' | 'winget' | 'choco';

/** A program that a command needs on this computer, and how to install it. */
export type Program = {
  readonly command: string;
  /** Alternative names of the program. One of them is enough. */
  readonly alternatives?: readonly string[];
  /** Begins with a verb: `creates the disks of VMs`, for "qemu-img, which creates the disks of VMs". */
  readonly purpose: string;
  readonly packages: Readonly<Partial<Record<PackageManager, readonly string[]>>>;
  /** The project's website, for computers whose package manager does not have the program. */
  readonly link: string;
  /** The folders that its installer uses, if they are not in the PATH. */
  readonly folders?: readonly string[];
};

/** How to install programs: the line that the user can type, and the commands in it. */
export type InstallPlan = {
  readonly manager: PackageManager | undefined;
  readonly commands: readonly (readonly string[])[];
  /** Programs that this computer's package manager does not have. */
  readonly unpackaged: readonly Program[];
  /** Whether Slipway can run the commands once the user agrees. */
  readonly canInstall: boolean;
  /** The line to type, or where to find the program. */
  readonly instruction: string;
};

/** The user's rights to install packages. */
export type Privileges = { readonly root: boolean; readonly sudo: boolean };

const MANAGER_EXECUTABLES: Readonly<Record<PackageManager, string>> = {
  apt: 'apt-get',
  dnf: 'dnf',
  pacman: 'pacman',
  zypper: 'zypper',
  brew: 'brew',
  winget: 'winget',
  choco: 'choco',
};
const MANAGERS_BY_PLATFORM: Readonly<Partial<Record<NodeJS.Platform, readonly PackageManager[]>>> = {
  linux: ['apt', 'dnf', 'pacman', 'zypper'],
  darwin: ['brew'],
  win32: ['winget', 'choco'],
};
const WINGET_INSTALL = ['winget', 'install', '--exact', '--id'];
/** Folders that are often missing in users' PATHs, although users can run the programs in them. */
const POSIX_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin', '/opt/homebrew/bin'];

type ProgramLookup = Pick<Program, 'command' | 'alternatives' | 'folders'>;

/** Returns the absolute path of a program, without starting it; undefined if it is missing. */
export async function findProgram(program: ProgramLookup, computer: Computer): Promise<string | undefined> {
  const names = [program.command, ...(program.alternatives ?? [])].flatMap((name) =>
    executableExtensions(computer).map((end) => name + end),
  );
  for (const folder of searchFolders(program, computer)) {
    for (const name of names) {
      const path = join(folder, name);
      if (await isExecutable(path, computer)) return path;
    }
  }
  return undefined;
}

/**
 * Returns what to start for the name of a program. Windows would look in the current folder first, and run the ssh.exe
 * of a repository that the user has just cloned, so the path is looked up here; other systems get the name back.
 */
export function locateProgram(name: string, env: Computer['env'], system: string = platform()): string {
  if (system !== 'win32' || isAbsolute(name)) return name;
  const folders = [
    ...(env.PATH ?? '').split(';').filter((folder) => isAbsolute(folder)),
    ...(sshProgram.folders ?? []),
  ];
  const paths = folders.flatMap((folder) => ['.exe', '.com'].map((end) => join(folder, `${name}${end}`)));
  // A path that does not exist gives the error of a missing program.
  return paths.find((path) => existsSync(path)) ?? paths.at(-2) ?? name;
}

export async function findMissingPrograms(
  programs: readonly Program[],
  computer: Computer,
): Promise<readonly Program[]> {
  const paths = await Promise.all(programs.map((program) => findProgram(program, computer)));
  return programs.filter((_program, index) => paths[index] === undefined);
}

export async function findPackageManager(computer: Computer): Promise<PackageManager | undefined> {
  for (const manager of MANAGERS_BY_PLATFORM[computer.platform] ?? []) {
    if ((await findProgram({ command: MANAGER_EXECUTABLES[manager] }, computer)) !== undefined) return manager;
  }
  return undefined;
}

/** Returns the commands that install these programs, in order; none if the manager does not have them. */
export function installCommands(
  missing: readonly Program[],
  manager: PackageManager,
  { root, sudo }: Privileges,
): readonly (readonly string[])[] {
  const packages = packagesOf(missing, manager);
  if (packages.length === 0) return [];
  const needsRoot = MANAGERS_BY_PLATFORM.linux?.includes(manager) === true;
  const prefix = needsRoot && !root && sudo ? ['sudo'] : [];
  return managerCommands(manager, packages).map((command) => [...prefix, ...command]);
}

export function packagesOf(missing: readonly Program[], manager: PackageManager): readonly string[] {
  return [...new Set(missing.flatMap((program) => program.packages[manager] ?? []))];
}

/** Formats commands as one line for the platform's shell. PowerShell 5 has no `&&`. */
export function formatCommands(commands: readonly (readonly string[])[], manager: PackageManager): string {
  return commands
    .map((argv) => argv.join(' '))
    .join(MANAGERS_BY_PLATFORM.win32?.includes(manager) === true ? '; ' : ' && ');
}

export async function planInstall(missing: readonly Program[], computer: Computer): Promise<InstallPlan> {
  const manager = await findPackageManager(computer);
  const sudo = (await findProgram({ command: 'sudo' }, computer)) !== undefined;
  return installPlanFor(missing, manager, { root: isRoot(), sudo });
}

export function installPlanFor(
  missing: readonly Program[],
  manager: PackageManager | undefined,
  rights: Privileges,
): InstallPlan {
  const commands = manager === undefined ? [] : installCommands(missing, manager, rights);
  const unpackaged = missing.filter(
    ({ packages }) => manager === undefined || packagesOf([{ packages } as Program], manager).length === 0,
  );
  const mayInstall = rights.root || rights.sudo || MANAGERS_BY_PLATFORM.linux?.includes(manager ?? 'brew') !== true;
  const line = manager === undefined || commands.length === 0 ? [] : [formatCommands(commands, manager)];
  return {
    manager,
    commands,
    unpackaged,
    canInstall: unpackaged.length === 0 && mayInstall,
    instruction: [
      ...line.map((text) => (mayInstall ? text : `as root: ${text}`)),
      ...unpackaged.map(({ command, link }) => `get ${command} from ${link}`),
    ].join('; '),
  };
}

/** Returns the docker client for this computer's distribution. */
export async function getDockerClientProgram(computer: Computer): Promise<Program> {
  const release = computer.platform === 'linux' ? await readFile('/etc/os-release', 'utf8').catch(() => '') : '';
  return dockerClientFor(release);
}

/**
 * Since Debian 13, the client has its own package. In older releases and in Ubuntu, the engine's package contains it.
 */
export function dockerClientFor(osRelease: string): Program {
  const id = /^ID="?([\w.-]+)"?$/m.exec(osRelease)?.[1];
  // Debian testing and unstable have no version number.
  const version = Number(/^VERSION_ID="?(\d+)/m.exec(osRelease)?.[1] ?? Infinity);
  const hasOwnPackage = (id === 'debian' || id === 'raspbian') && version >= 13;
  return {
    command: 'docker',
    purpose: 'connects to engines',
    packages: {
      apt: [hasOwnPackage ? 'docker-cli' : 'docker.io'],
      dnf: ['docker-cli'],
      pacman: ['docker'],
      zypper: ['docker'],
      brew: ['docker'],
      winget: ['Docker.DockerCLI'],
      choco: ['docker-cli'],
    },
    link: 'https://docs.docker.com/engine/install/',
  };
}

/** The program that `slipway ssh` runs. Creating machines does not require it: Slipway has its own SSH client. */
export const sshProgram: Program = {
  command: 'ssh',
  purpose: 'opens shells on machines',
  packages: {
    apt: ['openssh-client'],
    dnf: ['openssh-clients'],
    pacman: ['openssh'],
    zypper: ['openssh-clients'],
    brew: ['openssh'],
    choco: ['openssh'],
  },
  link: 'https://www.openssh.com/portable.html',
  folders: [String.raw`C:\Windows\System32\OpenSSH`],
};

/** Returns the program that `slipway mount` runs. */
export function sshfsProgram({ platform }: Pick<Computer, 'platform'>): Program {
  return {
    command: 'sshfs',
    purpose: 'mounts folders of machines',
    packages: {
      apt: ['sshfs'],
      dnf: ['fuse-sshfs'],
      pacman: ['sshfs'],
      zypper: ['sshfs'],
      winget: ['WinFsp.WinFsp', 'SSHFS-Win.SSHFS-Win'],
      choco: ['sshfs'],
    },
    // On macOS, sshfs needs macFUSE, which the user has to allow in the system settings.
    link: platform === 'darwin' ? 'https://macfuse.github.io' : 'https://github.com/libfuse/sshfs',
    folders: [String.raw`C:\Program Files\SSHFS-Win\bin`],
  };
}

function managerCommands(manager: PackageManager, packages: readonly string[]): readonly (readonly string[])[] {
  switch (manager) {
    case 'apt':
      // A new computer has no package lists, and outdated lists name files that no longer exist.
      return [
        ['apt-get', 'update'],
        ['apt-get', 'install', '--yes', '--no-install-recommends', ...packages],
      ];
    case 'dnf':
      return [['dnf', 'install', '-y', ...packages]];
    case 'pacman':
      return [['pacman', '-S', '--needed', '--noconfirm', ...packages]];
    case 'zypper':
      return [['zypper', '--non-interactive', 'install', ...packages]];
    case 'brew':
      return [['brew', 'install', ...packages]];
    case 'winget':
      return packages.map((id) => [...WINGET_INSTALL, id, '--accept-package-agreements', '--accept-source-agreements']);
    case 'choco':
      return [['choco', 'install', '-y', ...packages]];
  }
}

function searchFolders({ folders = [] }: ProgramLookup, { platform, env }: Computer): readonly string[] {
  const windows = platform === 'win32';
  const listed = (env.PATH ?? '').split(windows ? ';' : ':');
  // Programs from relative folders are unsafe, since such a folder depends on the working directory.
  return [...listed, ...folders, ...(windows ? [] : POSIX_FOLDERS)].filter((folder) => isAbsolute(folder));
}

/** Programs start without a shell, which on Windows only these can: Node refuses .cmd and .bat files. */
function executableExtensions({ platform }: Computer): readonly string[] {
  return platform === 'win32' ? ['.exe', '.com'] : [''];
}

function isRoot(): boolean {
  try {
    return userInfo().uid === 0;
  } catch {
    // A container may run as a user number without a name, which is never root's.
    return false;
  }
}

async function isExecutable(path: string, { platform }: Computer): Promise<boolean> {
  try {
    // winget is an app execution alias: lstat sees it, but access can't follow it.
    if (platform === 'win32') return !(await lstat(path)).isDirectory();
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

import type { Stats } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { askProgram, proxyVariablesIn, type ProgramAnswer } from '../computer/child-process.ts';
import type { Computer } from '../computer/computer.ts';
import { ignoreMissing, localFileError } from '../computer/files.ts';
import { loadCode, type Diagnostic } from '../drivers/contract.ts';
import { drivers as registered } from '../drivers/registry.ts';
import { reasonOf } from '../errors.ts';
import { formatList } from '../machine/options.ts';
import {
  getDockerClientProgram,
  findProgram,
  planInstall,
  findMissingPrograms,
  findPackageManager,
  sshProgram,
  type InstallPlan,
  type Program,
} from '../computer/programs.ts';
import type { Cli } from './command.ts';
import { findPlugin, type DockerMachinePlugin } from './docker-plugin.ts';
import { sortByPriority, findDefaultDriver, getDriverStatuses, type DriverStatus } from '../drivers/availability.ts';

/** One line of `doctor`. `optional` means missing, but not required for the usual work. */
export type DoctorRow = {
  readonly what: string;
  readonly state: Diagnostic['state'] | 'optional';
  readonly detail: string;
};

export type Diagnostics = {
  readonly rows: readonly DoctorRow[];
  /** Whether the docker client and the default driver of `create` have everything that they need. */
  readonly ready: boolean;
  /** Programs that an installation would provide. */
  readonly missing: readonly Program[];
  readonly installPlan: InstallPlan;
  /** The state of the plugin `docker machine`; undefined if this computer can't have it. */
  readonly plugin: DockerMachinePlugin | undefined;
};

const MINIMUM_NODE = [20, 19] as const;
/** How long the docker client may take to say a version. */
const PROGRAM_TIMEOUT_SECONDS = 10;

/** Checks this computer: programs, folders and drivers. */
export async function runDiagnostics(cli: Cli): Promise<Diagnostics> {
  const { computer } = cli.world;
  const [client, best, manager, plugin] = await Promise.all([
    getDockerClientProgram(computer),
    findDefaultDriver(registered, computer),
    findPackageManager(computer),
    findPlugin(cli),
  ]);
  const groups = await Promise.all([
    checkNode(cli.nodeVersion),
    checkHome(computer),
    packageManagerRow(manager),
    checkDockerClient(client, cli),
    dockerMachineRows(plugin),
    checkSshClient(cli),
    ...sortByPriority(await getDriverStatuses(registered, computer)).map((status) =>
      checkDriver(status, status.driver.name === best?.driver.name, computer),
    ),
  ]);
  const rows = groups.flat();
  const missing = await findMissingPrograms([client, sshProgram, ...(best?.missing ?? [])], computer);
  return {
    rows,
    ready: rows.every(({ state }) => state !== 'missing'),
    missing,
    installPlan: await planInstall(missing, computer),
    plugin,
  };
}

export function checkNode(version: string): DoctorRow {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  const [minimumMajor, minimumMinor] = MINIMUM_NODE;
  const isSupported = major > minimumMajor || (major === minimumMajor && minor >= minimumMinor);
  return isSupported
    ? { what: 'Node', state: 'ok', detail: version }
    : {
        what: 'Node',
        state: 'missing',
        detail: `${version} is older than ${minimumMajor}.${minimumMinor}: https://nodejs.org`,
      };
}

/** Checks the folder of keys and records: Slipway must be able to write it, and other users must not read it. */
export async function checkHome({
  home,
  platform,
  env,
}: Pick<Computer, 'home' | 'platform' | 'env'>): Promise<DoctorRow> {
  const what = "Slipway's folder";
  const useAnother = 'to use another folder, set SLIPWAY_HOME';
  let found: Stats | undefined;
  try {
    found = await ignoreMissing(stat(home));
  } catch (error) {
    return { what, state: 'missing', detail: `${reasonOf(localFileError(home, error, 'read'))}; ${useAnother}` };
  }
  const folder = found ? home : await findExistingParent(dirname(home));
  if (!(await isWritable(folder)))
    return { what, state: 'missing', detail: `${folder} can't be written; ${useAnother}` };
  const isReadableByOthers = found !== undefined && platform !== 'win32' && (found.mode & 0o077) !== 0;
  if (isReadableByOthers)
    return { what, state: 'note', detail: `${home} can be read by other users; to fix it: chmod 700 ${home}` };
  if (platform === 'win32' && !isInside(env.USERPROFILE, home))
    return {
      what,
      state: 'note',
      detail: `${home} is not in your user profile, so other users may read it; to leave only you: icacls "${home}" /inheritance:r /grant:r "${env.USERNAME ?? '%USERNAME%'}:(OI)(CI)F"`,
    };
  return { what, state: 'ok', detail: found ? home : `${home} (created when needed)` };
}

/** Returns whether a path of Windows is in a folder. */
function isInside(folder: string | undefined, path: string): boolean {
  const normalize = (text: string): string => text.toLowerCase().replaceAll('/', '\\').replace(/\\+$/, '');
  return folder !== undefined && `${normalize(path)}\\`.startsWith(`${normalize(folder)}\\`);
}

function packageManagerRow(manager: string | undefined): DoctorRow {
  const what = 'Package manager';
  if (manager !== undefined) return { what, state: 'ok', detail: manager };
  return { what, state: 'optional', detail: 'none that Slipway supports, so it can install no programs' };
}

async function checkDockerClient(client: Program, cli: Cli): Promise<readonly DoctorRow[]> {
  const docker = await findProgram(client, cli.world.computer);
  const what = 'docker client';
  if (docker === undefined) return [{ what, state: 'missing', detail: `not found: docker, which ${client.purpose}` }];
  const [version, compose, buildx] = await Promise.all([
    askVersion(docker, ['--version'], cli),
    askVersion(docker, ['compose', 'version'], cli),
    askVersion(docker, ['buildx', 'version'], cli),
  ]);
  return [
    version.outcome === 'answered'
      ? { what, state: 'ok', detail: `${version.lines[0] ?? ''} (${docker})` }
      : { what, state: 'missing', detail: `${docker} does not work: ${failureOf(version)}` },
    cliPluginRow('docker compose', compose, 'https://docs.docker.com/compose/install/linux/'),
    cliPluginRow('docker buildx', buildx, 'https://github.com/docker/buildx#installing'),
  ];
}

/** A client without the plugin refuses the command. One that can't be asked says nothing about its plugins. */
function cliPluginRow(what: string, version: ProgramAnswer, link: string): DoctorRow {
  if (version.outcome === 'answered') return { what, state: 'ok', detail: version.lines[0] ?? '' };
  if (version.outcome === 'refused')
    return { what, state: 'optional', detail: `a plugin of the docker client: ${link}` };
  return { what, state: 'note', detail: `not known: ${failureOf(version)}` };
}

function failureOf(answer: ProgramAnswer): string {
  if (answer.outcome === 'not-asked') return answer.reason;
  return answer.lines.at(-1) ?? 'it said nothing';
}

function dockerMachineRows(plugin: DockerMachinePlugin | undefined): readonly DoctorRow[] {
  if (plugin === undefined) return [];
  const what = 'docker machine';
  const { state, path } = plugin;
  if (state === 'ours')
    return [{ what, state: 'ok', detail: `${path} is linked to ${plugin.program}; to undo: rm ${path}` }];
  if (state === 'foreign')
    return [{ what, state: 'note', detail: `${path} belongs to another program, so it is left unchanged` }];
  if (state === 'unreadable')
    return [{ what, state: 'optional', detail: `${plugin.reason}; to fix it, check the folder ${dirname(path)}` }];
  const reason = state === 'absent' ? 'not linked' : `${path} is a broken link`;
  return [{ what, state: 'optional', detail: `${reason}; to link it: slipway doctor --fix` }];
}

async function checkSshClient({ world: { computer } }: Cli): Promise<DoctorRow> {
  const found = await findProgram(sshProgram, computer);
  return found === undefined
    ? { what: 'ssh client', state: 'optional', detail: `not found: ssh, which ${sshProgram.purpose}` }
    : { what: 'ssh client', state: 'ok', detail: found };
}

async function checkDriver(
  { driver, health, missing }: DriverStatus,
  isDefault: boolean,
  computer: Computer,
): Promise<readonly DoctorRow[]> {
  const what = `driver ${driver.name}`;
  const missingState = isDefault ? 'missing' : 'optional';
  if (!health.usable) return [{ what, state: missingState, detail: `${health.reason}; to fix it: ${health.fix}` }];
  const programs = await Promise.all(
    (driver.programs?.(computer) ?? []).map(async (program): Promise<DoctorRow> => {
      const path = await findProgram(program, computer);
      return path === undefined
        ? { what: `  ${program.command}`, state: missingState, detail: `not found; it ${program.purpose}` }
        : { what: `  ${program.command}`, state: 'ok', detail: path };
    }),
  );
  const findings = missing.length > 0 ? [] : ((await (await loadCode(driver)).diagnose?.(computer)) ?? []);
  return [
    missing.length > 0
      ? { what, state: missingState, detail: `requires ${formatList(missing.map(({ command }) => command))}` }
      : { what, state: 'ok', detail: driver.summary },
    ...programs,
    ...findings.map((finding): DoctorRow => ({
      what: `  ${finding.what}`,
      state: finding.state === 'missing' ? missingState : finding.state,
      detail: finding.detail,
    })),
  ];
}

function askVersion(program: string, argv: readonly string[], { world }: Cli): Promise<ProgramAnswer> {
  return askProgram(program, argv, {
    computer: world.computer,
    signal: world.signal,
    seconds: PROGRAM_TIMEOUT_SECONDS,
    env: proxyVariablesIn(world.computer.env),
  });
}

/** Returns the folder, or the nearest folder above it that exists. */
async function findExistingParent(folder: string): Promise<string> {
  const found = await ignoreMissing(stat(folder));
  return found || dirname(folder) === folder ? folder : findExistingParent(dirname(folder));
}

async function isWritable(folder: string): Promise<boolean> {
  return access(folder, constants.W_OK).then(
    async () => (await stat(folder)).isDirectory(),
    () => false,
  );
}

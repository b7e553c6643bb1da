import { canceledError, SlipwayError } from '../errors.ts';
import { formatList } from '../machine/options.ts';
import {
  findProgram,
  planInstall,
  findMissingPrograms,
  packagesOf,
  formatCommands,
  type InstallPlan,
  type Program,
} from '../computer/programs.ts';
import type { World } from '../operations/world.ts';
import { runProgram } from './run-program.ts';

export type Consent = {
  /** Whether the user has agreed on the command line. */
  readonly yes: boolean;
  /** The command by which the user agrees; undefined where it would agree to more than the installation. */
  readonly consentCommand: string | undefined;
};

/** What the calling program provides for an installation: its world, its environment, and ways to reach the user. */
export type InstallContext = {
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a person at a terminal can answer questions. */
  readonly interactive: boolean;
  readonly say: (line: string) => void;
};

const LAST_LINES = 8;

/**
 * Installs the missing programs once the user has agreed, and checks that they can be found afterwards. Throws
 * PROGRAM_MISSING with the command to type if the user did not agree, or if the installation failed.
 */
export async function installMissing(
  programs: readonly Program[],
  consent: Consent,
  cli: InstallContext,
): Promise<void> {
  const { computer } = cli.world;
  const missing = await findMissingPrograms(programs, computer);
  if (missing.length === 0) return;
  const installPlan = await planInstall(missing, computer);
  if (!installPlan.canInstall || !(await confirmInstall(missing, installPlan, consent, cli)))
    throw missingProgramsError(missing, installPlan, consent);
  await installPrograms(missing, installPlan, cli);
  const stillMissing = await findMissingPrograms(missing, computer);
  if (stillMissing.length > 0) throw stillMissingError(stillMissing, installPlan);
}

/** Returns `qemu-img and qemu-system-x86_64, which run local VMs; and docker, which connects to engines`. */
export function formatMissing(missing: readonly Program[]): string {
  const purposes = [...new Set(missing.map(({ purpose }) => purpose))];
  const parts = purposes.map((purpose) => {
    const names = missing.filter((program) => program.purpose === purpose).map(({ command }) => command);
    return `${formatList(names)}, which ${names.length === 1 ? purpose : purpose.replace(/^(\w+)s\b/, '$1')}`;
  });
  return parts.join('; and ');
}

/**
 * Returns the command in a form that never asks: sudo fails instead, and packages use their defaults. sudo drops the
 * environment, so the variable for apt-get follows it as an argument.
 */
export function toUnattended(command: readonly string[]): readonly string[] {
  const [first = '', ...rest] = command;
  return first === 'sudo' ? ['sudo', '-n', 'DEBIAN_FRONTEND=noninteractive', ...rest] : command;
}

async function confirmInstall(
  missing: readonly Program[],
  { instruction }: InstallPlan,
  { yes }: Consent,
  cli: InstallContext,
): Promise<boolean> {
  if (yes || !cli.interactive) return yes;
  cli.say(`Missing on this computer: ${formatMissing(missing)}`);
  cli.say(`To install: ${instruction}`);
  const { confirm } = await import('./questions.ts');
  return confirm('Run this now?');
}

async function installPrograms(
  missing: readonly Program[],
  installPlan: InstallPlan,
  cli: InstallContext,
): Promise<void> {
  const { manager } = installPlan;
  if (manager === undefined) return;
  await authenticateSudo(installPlan, cli);
  const title = `Install ${formatList(packagesOf(missing, manager))} (${manager})`;
  await cli.world.progress.step('install-programs', title, async (log) => {
    for (const command of installPlan.commands) await runInstallCommand(command, installPlan, cli, log);
  });
}

/** Lets sudo ask for its password while the terminal is free: a live list would hide the question. */
async function authenticateSudo({ commands }: InstallPlan, cli: InstallContext): Promise<void> {
  const sudo = commands[0]?.[0] === 'sudo' ? await findProgram({ command: 'sudo' }, cli.world.computer) : undefined;
  if (sudo === undefined || !cli.interactive) return;
  const run = { program: sudo, env: cli.env, signal: cli.world.signal };
  if ((await runProgram({ ...run, argv: ['-n', 'true'], log: () => {} })) === 0) return;
  await runProgram({ ...run, argv: ['-v'] });
}

async function runInstallCommand(
  command: readonly string[],
  { manager, instruction }: InstallPlan,
  { env, world }: InstallContext,
  log: (line: string) => void,
): Promise<void> {
  const [name = '', ...argv] = toUnattended(command);
  const lastLines: string[] = [];
  const status = await runProgram({
    program: (await findProgram({ command: name }, world.computer)) ?? name,
    argv,
    env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
    signal: world.signal,
    log: (text) => {
      log(text);
      lastLines.push(text);
      if (lastLines.length > LAST_LINES) lastLines.shift();
    },
  });
  if (world.signal.aborted) throw canceledError();
  if (status === 0) return;
  const commandLine = manager === undefined ? name : formatCommands([command], manager);
  throw new SlipwayError('PROGRAM_MISSING', `Installation failed: "${commandLine}" exited with status ${status}`, {
    hint: `To see why, run it yourself: ${instruction}`,
    detail: lastLines,
  });
}

function missingProgramsError(
  missing: readonly Program[],
  { canInstall, instruction }: InstallPlan,
  { consentCommand }: Consent,
): SlipwayError {
  const manually = `To install ${missing.length === 1 ? 'it' : 'them'}: ${instruction}`;
  return new SlipwayError('PROGRAM_MISSING', `Missing on this computer: ${formatMissing(missing)}`, {
    hint:
      canInstall && consentCommand !== undefined ? `${manually}. Or let Slipway do it: ${consentCommand}` : manually,
  });
}

function stillMissingError(missing: readonly Program[], { instruction }: InstallPlan): SlipwayError {
  const names = formatList(missing.map(({ command }) => command));
  return new SlipwayError('PROGRAM_MISSING', `The packages were installed, but ${names} can't be found`, {
    hint: `Try again in a new terminal, or run this yourself: ${instruction}`,
  });
}

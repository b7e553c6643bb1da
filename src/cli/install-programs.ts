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
import type { Cli } from './command.ts';
import { runProgram } from './run-program.ts';

export type Consent = {
  /** Given already, on the command line. */
  readonly yes: boolean;
  /** What to type so that Slipway installs without asking; undefined where that would agree to more than installing. */
  readonly consentCommand: string | undefined;
};

/** Who can be asked, and what runs here. */
export type InstallContext = Pick<Cli, 'world' | 'env' | 'interactive' | 'say'>;

const LAST_LINES = 8;

/** Afterwards all these programs are there. Nothing is installed that nobody agreed to. */
export async function installMissing(
  programs: readonly Program[],
  consent: Consent,
  cli: InstallContext,
): Promise<void> {
  const { computer } = cli.world;
  const missing = await findMissingPrograms(programs, computer);
  if (missing.length === 0) return;
  const mending = await planInstall(missing, computer);
  if (!mending.canInstall || !(await confirmInstall(missing, mending, consent, cli)))
    throw missingProgramsError(missing, mending, consent);
  await installPrograms(missing, mending, cli);
  const still = await findMissingPrograms(missing, computer);
  if (still.length > 0) throw stillMissingError(still, mending);
}

/** `qemu-img and qemu-system-x86_64, which run local VMs; and docker, which speaks to engines` */
export function formatMissing(missing: readonly Program[]): string {
  const purposes = [...new Set(missing.map(({ purpose }) => purpose))];
  const parts = purposes.map((purpose) => {
    const names = missing.filter((program) => program.purpose === purpose).map(({ command }) => command);
    return `${formatList(names)}, which ${names.length === 1 ? purpose : purpose.replace(/^(\w+)s\b/, '$1')}`;
  });
  return parts.join('; and ');
}

/**
 * A command as it runs where nobody answers: sudo that fails instead of asking, and packages that take their defaults.
 * sudo drops the environment, so what must reach apt-get stands behind it.
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
  cli.say(`This computer lacks ${formatMissing(missing)}.`);
  cli.say(`To install: ${instruction}`);
  const { confirm } = await import('./create-wizard.ts');
  return confirm('Run this now?');
}

async function installPrograms(missing: readonly Program[], mending: InstallPlan, cli: InstallContext): Promise<void> {
  const { manager } = mending;
  if (manager === undefined) return;
  await authenticateSudo(mending, cli);
  const title = `Install ${formatList(packagesOf(missing, manager))} (${manager})`;
  await cli.world.progress.step('install-programs', title, async (log) => {
    for (const command of mending.commands) await runInstallCommand(command, mending, cli, log);
  });
}

/** Asks for the password while the terminal is free: below a live list nobody sees the question. */
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
  const last: string[] = [];
  const status = await runProgram({
    program: (await findProgram({ command: name }, world.computer)) ?? name,
    argv,
    env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
    signal: world.signal,
    log: (text) => {
      log(text);
      last.push(text);
      if (last.length > LAST_LINES) last.shift();
    },
  });
  if (world.signal.aborted) throw canceledError();
  if (status === 0) return;
  const shown = manager === undefined ? name : formatCommands([command], manager);
  throw new SlipwayError('PROGRAM_MISSING', `Installing failed: "${shown}" ended with exit status ${status}`, {
    hint: `See what it says when you type it yourself: ${instruction}`,
    detail: last,
  });
}

function missingProgramsError(
  missing: readonly Program[],
  { canInstall, instruction }: InstallPlan,
  { consentCommand }: Consent,
): SlipwayError {
  const typed = `Install ${missing.length === 1 ? 'it' : 'them'}: ${instruction}`;
  return new SlipwayError('PROGRAM_MISSING', `This computer lacks ${formatMissing(missing)}`, {
    hint: canInstall && consentCommand !== undefined ? `${typed}, or let Slipway do it: ${consentCommand}` : typed,
  });
}

function stillMissingError(still: readonly Program[], { instruction }: InstallPlan): SlipwayError {
  const names = formatList(still.map(({ command }) => command));
  return new SlipwayError('PROGRAM_MISSING', `The packages are installed, and still there is no ${names}`, {
    hint: `Look for it in a new terminal, or see what this says: ${instruction}`,
  });
}

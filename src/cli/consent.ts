import { canceled, SlipwayError } from '../errors.ts';
import { listed } from '../machine/options.ts';
import {
  findProgram,
  mendingOf,
  missingPrograms,
  packagesOf,
  shownCommands,
  type Mending,
  type Program,
} from '../computer/programs.ts';
import type { Cli } from './command.ts';
import { ended } from './running.ts';

export type Consent = {
  /** Given already, on the command line. */
  readonly yes: boolean;
  /** What to type so that Slipway installs without asking; undefined where that would agree to more than installing. */
  readonly again: string | undefined;
};

/** Who can be asked, and what runs here. */
export type Asking = Pick<Cli, 'world' | 'env' | 'interactive' | 'say'>;

const LAST_LINES = 8;

/** Afterwards all these programs are there. Nothing is installed that nobody agreed to. */
export async function installMissing(programs: readonly Program[], consent: Consent, cli: Asking): Promise<void> {
  const { computer } = cli.world;
  const missing = await missingPrograms(programs, computer);
  if (missing.length === 0) return;
  const mending = await mendingOf(missing, computer);
  if (!mending.complete || !(await agreed(missing, mending, consent, cli))) throw lacking(missing, mending, consent);
  await install(missing, mending, cli);
  const still = await missingPrograms(missing, computer);
  if (still.length > 0) throw notThere(still, mending);
}

/** `qemu-img and qemu-system-x86_64, which run local VMs; and docker, which speaks to engines` */
export function lackedAs(missing: readonly Program[]): string {
  const purposes = [...new Set(missing.map(({ purpose }) => purpose))];
  const parts = purposes.map((purpose) => {
    const names = missing.filter((program) => program.purpose === purpose).map(({ command }) => command);
    return `${listed(names)}, which ${names.length === 1 ? purpose : purpose.replace(/^(\w+)s\b/, '$1')}`;
  });
  return parts.join('; and ');
}

/**
 * A command as it runs where nobody answers: sudo that fails instead of asking, and packages that take their defaults.
 * sudo drops the environment, so what must reach apt-get stands behind it.
 */
export function unattended(command: readonly string[]): readonly string[] {
  const [first = '', ...rest] = command;
  return first === 'sudo' ? ['sudo', '-n', 'DEBIAN_FRONTEND=noninteractive', ...rest] : command;
}

async function agreed(missing: readonly Program[], { line }: Mending, { yes }: Consent, cli: Asking): Promise<boolean> {
  if (yes || !cli.interactive) return yes;
  cli.say(`This computer lacks ${lackedAs(missing)}.`);
  cli.say(`To install: ${line}`);
  const { confirmed } = await import('./wizard.ts');
  return confirmed('Run this now?');
}

async function install(missing: readonly Program[], mending: Mending, cli: Asking): Promise<void> {
  const { manager } = mending;
  if (manager === undefined) return;
  await wakeSudo(mending, cli);
  const title = `Install ${listed(packagesOf(missing, manager))} (${manager})`;
  await cli.world.progress.step('install-programs', title, async (log) => {
    for (const command of mending.commands) await runWhole(command, mending, cli, log);
  });
}

/** Asks for the password while the terminal is free: below a live list nobody sees the question. */
async function wakeSudo({ commands }: Mending, cli: Asking): Promise<void> {
  const sudo = commands[0]?.[0] === 'sudo' ? await findProgram({ command: 'sudo' }, cli.world.computer) : undefined;
  if (sudo === undefined || !cli.interactive) return;
  const run = { program: sudo, env: cli.env, signal: cli.world.signal };
  if ((await ended({ ...run, argv: ['-n', 'true'], log: () => {} })) === 0) return;
  await ended({ ...run, argv: ['-v'] });
}

async function runWhole(
  command: readonly string[],
  { manager, line }: Mending,
  { env, world }: Asking,
  log: (line: string) => void,
): Promise<void> {
  const [name = '', ...argv] = unattended(command);
  const last: string[] = [];
  const status = await ended({
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
  if (world.signal.aborted) throw canceled();
  if (status === 0) return;
  const shown = manager === undefined ? name : shownCommands([command], manager);
  throw new SlipwayError('PROGRAM_MISSING', `Installing failed: "${shown}" ended with exit status ${status}`, {
    hint: `See what it says when you type it yourself: ${line}`,
    detail: last,
  });
}

function lacking(missing: readonly Program[], { complete, line }: Mending, { again }: Consent): SlipwayError {
  const typed = `Install ${missing.length === 1 ? 'it' : 'them'}: ${line}`;
  return new SlipwayError('PROGRAM_MISSING', `This computer lacks ${lackedAs(missing)}`, {
    hint: complete && again !== undefined ? `${typed}, or let Slipway do it: ${again}` : typed,
  });
}

function notThere(still: readonly Program[], { line }: Mending): SlipwayError {
  const names = listed(still.map(({ command }) => command));
  return new SlipwayError('PROGRAM_MISSING', `The packages are installed, and still there is no ${names}`, {
    hint: `Look for it in a new terminal, or see what this says: ${line}`,
  });
}

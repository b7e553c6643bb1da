import { canceledError, exitCodes, reasonOf, SlipwayError } from '../errors.ts';
import { findNearestWord } from '../did-you-mean.ts';
import { optionsFromEnv, parseOptions, type OptionValues } from '../machine/options.ts';
import type { Cli, Command, CommandResult } from './command.ts';
import { commands, type CommandEntry, type CommandFamily } from './commands/command-list.ts';
import type { CliEvent } from '../terminal/event-schema.ts';
import { createInterruptController, packageFile, slipwayHome, createWorld } from '../terminal/process-world.ts';
import type { MachineProgress, ProgressView } from '../terminal/progress-views.ts';

/** The flags that shape output, read before anything is parsed: an error in the parse must look right too. */
type OutputFlags = { readonly json: boolean; readonly debug: boolean; readonly quiet: boolean };

const interrupt = createInterruptController();
/** What shows the steps of this command; it must have left the terminal before anything else ends there. */
let view: ProgressView | undefined;
/** What the command and each of its machines got of it. */
const progressByMachine = new Map<string | undefined, MachineProgress>();
/** Once there was an event, stdout of --json is one a line, and the last line is an event as well. */
let hasPrintedEvent = false;
const argv = process.argv.slice(2);
const [node = '', script = ''] = process.argv;
const outputFlags: OutputFlags = { json: hasFlag('json'), debug: hasFlag('debug'), quiet: hasFlag('quiet') };
const color = !process.env.NO_COLOR && process.env.TERM !== 'dumb' && process.stderr.isTTY === true;

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second one does not wait for anything.
    if (interrupt.signal.aborted) process.exit(exitCodes.CANCELED);
    interrupt.abort();
  });
}
// A reader that went away (`slipway ls | head -1`) is no error, and no reason to leave work half done.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    if ([...progressByMachine.values()].every((progress) => progress.lastStepId() === '')) process.exit(0);
  });
}
// Whatever ends us, the terminal gets its cursor back.
process.on('exit', () => view?.close());
// Taken out of the environment, so that no child of ours inherits it.
const sudoPassword = process.env.SLIPWAY_SUDO_PASSWORD;
delete process.env.SLIPWAY_SUDO_PASSWORD;
// Which Node the AWS SDK will want next year is no business of who makes a machine today.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = await reportFailure(
    interrupt.signal.aborted && !(error instanceof SlipwayError) ? canceledError() : error,
  );
}
// Keepalive timers and open sockets of a connection that was given up must not hold the process.
process.stdout.write('', () => process.exit());

async function main(): Promise<number> {
  const name = argv.find((word) => !word.startsWith('-'));
  const globals = name === undefined ? argv : argv.slice(0, argv.indexOf(name));
  const rest = name === undefined ? [] : argv.slice(argv.indexOf(name) + 1);
  const strange = globals.find(
    (word) => !['--json', '--debug', '--quiet', '--help', '-h', '--version', '-V'].includes(word),
  );
  if (strange !== undefined)
    throw new SlipwayError('USAGE', `Unknown option '${strange}'`, { hint: 'See: slipway --help' });

  if (globals.includes('--version') || globals.includes('-V')) return runCommand('version', [], globals);
  if (name === undefined && globals.length === 0 && isInteractive()) return runCommand('create', [], globals);
  if (name === undefined || (name === 'help' && rest.length === 0))
    return print(await import('./help.ts').then(({ programHelp }) => programHelp()));
  if (name === 'help') return printHelp(rest[0] ?? '', rest.slice(1));
  return runCommand(name, rest, globals);
}

async function runCommand(name: string, behind: readonly string[], globals: readonly string[]): Promise<number> {
  const { entry, rest } = findCommand(name, behind);
  if ('members' in entry) return printFamilyHelp(entry, rest);
  const command = await entry.load();
  const asked = globals.includes('--help') || globals.includes('-h') || isHelpRequested(command, rest);
  if (asked) return printCommandHelp(command, rest);
  const { parseFlags } = await import('./parse-flags.ts');
  const { optionSpecsOf } = await import('./command.ts');
  const { positionals, flags } = parseFlags(command, rest);
  const infos = optionSpecsOf(command);
  const own: OptionValues = Object.fromEntries(
    infos.filter((info) => flags[info.flag] !== undefined).map((info) => [info.key, flags[info.flag]]),
  );
  const args = parseOptions(command.args, infos, {
    ...optionsFromEnv(infos, { ...process.env, SLIPWAY_SUDO_PASSWORD: sudoPassword }),
    ...own,
  });
  const cli = await createCli(args.sudoPassword);
  const result = await command.run({ positionals, args, flags }, cli);
  return printResult(result);
}

/** What the words name, and those that are left; a family where no word chose one of it. */
function findCommand(
  name: string,
  behind: readonly string[],
): { readonly entry: CommandEntry | CommandFamily; readonly rest: readonly string[] } {
  const entry = requireCommand(name, commands, 'slipway help');
  const at = 'members' in entry ? behind.findIndex((word) => !word.startsWith('-')) : -1;
  if (!('members' in entry) || at < 0) return { entry, rest: behind };
  const member = requireCommand(`${name} ${behind[at]}`, entry.members, `slipway help ${name}`);
  return { entry: member, rest: behind.toSpliced(at, 1) };
}

function requireCommand<T extends { readonly name: string }>(name: string, entries: readonly T[], all: string): T {
  const entry = entries.find((candidate) => candidate.name === name);
  if (entry) return entry;
  const near = findNearestWord(
    name,
    entries.map((candidate) => candidate.name),
  );
  throw new SlipwayError('USAGE', `There is no command "${name}"`, {
    hint: near === undefined ? `All commands: ${all}` : `Did you mean: slipway ${near}? All of them: ${all}`,
  });
}

async function printFamilyHelp(family: CommandFamily, rest: readonly string[]): Promise<number> {
  const strange = rest.find((word) => !['--json', '--debug', '--quiet', '--help', '-h'].includes(word));
  if (strange === undefined) return print((await import('./help.ts')).familyHelp(family));
  throw new SlipwayError('USAGE', `Unknown option '${strange}'`, { hint: `See: slipway help ${family.name}` });
}

/** `--help` behind `ssh web ls` belongs to ls. */
function isHelpRequested(command: Command, rest: readonly string[]): boolean {
  const end = rest.indexOf('--');
  const ours = command.passThrough
    ? rest.slice(
        0,
        Math.max(
          0,
          rest.findIndex((word) => !word.startsWith('-')),
        ),
      )
    : rest.slice(0, end < 0 ? undefined : end);
  const words = command.passThrough && rest.every((word) => word.startsWith('-')) ? rest : ours;
  return words.includes('--help') || words.includes('-h');
}

async function printHelp(topic: string, behind: readonly string[]): Promise<number> {
  const { topicHelp } = await import('./help.ts');
  const known = topicHelp(topic, terminalWidth());
  if (known !== undefined && !commands.some(({ name }) => name === topic)) return print(known);
  const { entry, rest } = findCommand(topic, behind);
  return 'members' in entry ? printFamilyHelp(entry, rest) : printCommandHelp(await entry.load(), rest);
}

async function printCommandHelp(command: Command, rest: readonly string[]): Promise<number> {
  const { commandHelp } = await import('./help.ts');
  const at = rest.findIndex((word) => /^(-d|--driver)(=|$)/.test(word));
  const driver = at < 0 ? undefined : (/=(.*)$/.exec(rest[at] ?? '')?.[1] ?? rest[at + 1]);
  return print(commandHelp(command, driver, terminalWidth()));
}

async function createCli(password: unknown): Promise<Cli> {
  const home = slipwayHome();
  const [{ openStore }, { openImageStore }, progressOf] = await Promise.all([
    import('../machine/store.ts'),
    import('../images/image-store.ts'),
    openView(),
  ]);
  const world = createWorld({
    store: openStore(home),
    progress: progressOf(),
    signal: interrupt.signal,
    sudoPassword: typeof password === 'string' ? password : undefined,
    debug: outputFlags.debug ? (line) => say(`debug ${line}`) : () => {},
    startSpareBuild: async (spec) =>
      (await import('./prewarm.ts')).startPrewarm(spec, [node, script], process.env, home),
  });
  return {
    world,
    images: openImageStore(home),
    makeImage: async (...call) => (await import('../drivers/registry.ts')).makeImage(...call),
    listImageUsers: async (image) => (await import('../images/image-users.ts')).findImageUsers(home, image),
    env: process.env,
    nodeVersion: process.version,
    packageFile,
    interactive: isInteractive() && !outputFlags.json,
    width: terminalWidth(),
    color,
    screen: {
      write: (text) => void process.stdout.write(text),
      waitUntilDrained: () => new Promise((resolve) => process.stdout.write('', () => resolve())),
      size: () =>
        process.stdout.isTTY === true && process.env.TERM !== 'dumb'
          ? { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }
          : undefined,
      json: outputFlags.json,
    },
    program: 'slipway',
    progressOf,
    setEnvForRun: (variable, value) => {
      if (value === undefined) delete process.env[variable];
      else process.env[variable] = value;
    },
    say,
  };
}

/** One view for the whole command. Each machine gets a progress of its own, the same whenever it is asked for. */
async function openView(): Promise<(machine?: string) => MachineProgress> {
  const { createProgress } = await import('../terminal/progress-views.ts');
  const opened = await createView();
  view = opened;
  return (machine) => {
    const progress = progressByMachine.get(machine) ?? createProgress(opened, machine);
    progressByMachine.set(machine, progress);
    return progress;
  };
}

async function createView(): Promise<ProgressView> {
  const { hasUnicode, createJsonView, createLiveView, createPlainView, createQuietView } =
    await import('../terminal/progress-views.ts');
  const { stderr, stdout, env, platform } = process;
  if (outputFlags.json) return createJsonView(printEvent);
  if (outputFlags.quiet) return createQuietView(say);
  // Lines of --debug belong between those of the steps, and what a build server shows is a log.
  const live = stderr.isTTY && !outputFlags.debug && env.TERM !== 'dumb' && !env.CI;
  if (!live) return createPlainView(say);
  return createLiveView({
    stream: stderr,
    others: stdout.isTTY ? [stdout] : [],
    color,
    unicode: hasUnicode(platform, env),
  });
}

function printResult({ json, text, status = 0 }: CommandResult): number {
  view?.close();
  if (outputFlags.json && json !== undefined) printJson({ event: 'result', result: json }, json);
  else if (!outputFlags.json && text !== '') print(text);
  return status;
}

async function reportFailure(error: unknown): Promise<number> {
  view?.close();
  const { toErrorDocument, formatError } = await import('../terminal/text-output.ts');
  if (!(error instanceof SlipwayError)) {
    const message = reasonOf(error);
    if (outputFlags.json && hasPrintedEvent) printEvent({ event: 'error', error: { code: 'BUG', message } });
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    say('This is a bug in Slipway. Please report it with the lines above and what you typed.');
    return 1;
  }
  if (outputFlags.json) printJson({ event: 'error', ...toErrorDocument(error) }, toErrorDocument(error));
  say(formatError(error, color, process.stderr.columns || undefined));
  return exitCodes[error.code];
}

function hasFlag(flag: string): boolean {
  const end = argv.indexOf('--');
  // What follows the machine's name in `ssh` is the remote command's.
  const ssh = argv.indexOf('ssh');
  const ours = argv.slice(0, end < 0 ? undefined : end);
  return (ssh >= 0 && argv.slice(0, ssh).every((word) => word.startsWith('-')) ? ours.slice(0, ssh) : ours).includes(
    `--${flag}`,
  );
}

function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

function terminalWidth(): number {
  return process.stdout.columns ?? 80;
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

function printJson(event: CliEvent, document: unknown): void {
  if (hasPrintedEvent) printEvent(event);
  else print(JSON.stringify(document, null, 2));
}

function printEvent(event: CliEvent): void {
  hasPrintedEvent = true;
  print(JSON.stringify(event));
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

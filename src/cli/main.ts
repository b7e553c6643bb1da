import { canceledError, exitCodes, reasonOf, SlipwayError } from '../errors.ts';
import { findNearestWord } from '../did-you-mean.ts';
import { optionsFromEnv, parseOptions, pickFlagValues } from '../machine/options.ts';
import type { Cli, Command, CommandResult, OutputScreen } from './command.ts';
import { createLinks } from '../terminal/links.ts';
import { commands, type CommandEntry, type CommandFamily } from './commands/command-list.ts';
import type { CliEvent } from '../terminal/event-schema.ts';
import {
  createInterruptController,
  createWorld,
  ignoreClosedPipes,
  packageFile,
  prepareEnvironment,
  slipwayHome,
} from '../terminal/process-world.ts';
import { runMain } from '../terminal/run-main.ts';
import type { MachineProgress, ProgressView } from '../terminal/progress-views.ts';

/** The flags that determine the output format. They are read before the parser runs, so that its errors follow them. */
type OutputFlags = { readonly json: boolean; readonly debug: boolean; readonly quiet: boolean };

const interrupt = createInterruptController(exitCodes.CANCELED);
/** The progress view of this command; it must be closed before anything else is written to the terminal. */
let view: ProgressView | undefined;
/** The progress of the command and of each of its machines. */
const progressByMachine = new Map<string | undefined, MachineProgress>();
/** Whether --json has printed an event: the result or the error then is an event on one line too. */
let hasPrintedEvent = false;
const argv = process.argv.slice(2);
const [node = '', script = ''] = process.argv;
const outputFlags: OutputFlags = { json: hasFlag('json'), debug: hasFlag('debug'), quiet: hasFlag('quiet') };
const color = !process.env.NO_COLOR && process.env.TERM !== 'dumb' && process.stderr.isTTY === true;

// A closed pipe must not interrupt work in progress.
ignoreClosedPipes(() => {
  if ([...progressByMachine.values()].every((progress) => progress.lastStepId() === '')) process.exit(0);
});
// Shows the cursor again, however the process ends.
process.on('exit', () => view?.close());
const sudoPassword = prepareEnvironment();

await runMain(main, async (error) =>
  reportFailure(
    interrupt.signal.aborted && !(error instanceof SlipwayError) ? canceledError() : await explainError(error),
  ),
);

async function main(): Promise<number> {
  const name = argv.find((word) => !word.startsWith('-'));
  const globals = name === undefined ? argv : argv.slice(0, argv.indexOf(name));
  const rest = name === undefined ? [] : argv.slice(argv.indexOf(name) + 1);
  const unknown = globals.find(
    (word) => !['--json', '--debug', '--quiet', '--help', '-h', '--version', '-V'].includes(word),
  );
  if (unknown !== undefined) throw unknownOptionError(unknown, 'slipway --help');

  if (globals.includes('--version') || globals.includes('-V')) return runCommand('version', [], globals);
  if (name === undefined && globals.length === 0 && isInteractive()) return runCommand('create', [], globals);
  if (name === undefined || (name === 'help' && rest.length === 0))
    return print(await import('./help.ts').then(({ programHelp }) => programHelp()));
  if (name === 'help') return printHelp(rest[0] ?? '', rest.slice(1));
  return runCommand(name, rest, globals);
}

async function runCommand(name: string, words: readonly string[], globals: readonly string[]): Promise<number> {
  const { entry, rest } = findCommand(name, words);
  if ('members' in entry) return printFamilyHelp(entry, rest);
  const command = await entry.load();
  const wantsHelp = globals.includes('--help') || globals.includes('-h') || isHelpRequested(command, rest);
  if (wantsHelp) return printCommandHelp(command, rest);
  const { parseFlags } = await import('./parse-flags.ts');
  const { optionSpecsOf } = await import('./command.ts');
  const { positionals, flags } = parseFlags(command, rest);
  const specs = optionSpecsOf(command);
  const args = parseOptions(command.args, specs, {
    ...optionsFromEnv(specs, { ...process.env, SLIPWAY_SUDO_PASSWORD: sudoPassword }),
    ...pickFlagValues(specs, flags),
  });
  const cli = await createCli(args.sudoPassword);
  const result = await command.run({ positionals, args, flags }, cli);
  return printResult(result);
}

/** Finds the command that the words name, and returns the remaining words; a family if no word names a member of it. */
function findCommand(
  name: string,
  words: readonly string[],
): { readonly entry: CommandEntry | CommandFamily; readonly rest: readonly string[] } {
  const entry = requireCommand(name, commands, 'slipway help');
  const index = 'members' in entry ? words.findIndex((word) => !word.startsWith('-')) : -1;
  if (!('members' in entry) || index < 0) return { entry, rest: words };
  const member = requireCommand(`${name} ${words[index]}`, entry.members, `slipway help ${name}`);
  return { entry: member, rest: words.toSpliced(index, 1) };
}

function requireCommand<T extends { readonly name: string }>(
  name: string,
  entries: readonly T[],
  listCommand: string,
): T {
  const entry = entries.find((candidate) => candidate.name === name);
  if (entry) return entry;
  const near = findNearestWord(
    name,
    entries.map((candidate) => candidate.name),
  );
  throw new SlipwayError('USAGE', `Unknown command "${name}"`, {
    hint:
      near === undefined
        ? `To list all commands: ${listCommand}`
        : `Did you mean: slipway ${near}? To list all commands: ${listCommand}`,
  });
}

async function printFamilyHelp(family: CommandFamily, rest: readonly string[]): Promise<number> {
  const unknown = rest.find((word) => !['--json', '--debug', '--quiet', '--help', '-h'].includes(word));
  if (unknown === undefined) return print((await import('./help.ts')).familyHelp(family));
  throw unknownOptionError(unknown, `slipway help ${family.name}`);
}

function unknownOptionError(option: string, helpCommand: string): SlipwayError {
  return new SlipwayError('USAGE', `Unknown option '${option}'`, { hint: `See: ${helpCommand}` });
}

/** Returns whether the words ask for help; `--help` after `ssh web ls` belongs to ls. */
function isHelpRequested(command: Command, rest: readonly string[]): boolean {
  const isHelp = (word: string): boolean => word === '--help' || word === '-h';
  const end = command.passThrough ? rest.findIndex((word) => !word.startsWith('-')) : rest.indexOf('--');
  return rest.slice(0, end < 0 ? undefined : end).some(isHelp);
}

async function printHelp(topic: string, words: readonly string[]): Promise<number> {
  const { topicHelp } = await import('./help.ts');
  const text = topicHelp(topic, terminalWidth());
  if (text !== undefined && !commands.some(({ name }) => name === topic)) return print(text);
  const { entry, rest } = findCommand(topic, words);
  return 'members' in entry ? printFamilyHelp(entry, rest) : printCommandHelp(await entry.load(), rest);
}

async function printCommandHelp(command: Command, rest: readonly string[]): Promise<number> {
  const { commandHelp } = await import('./help.ts');
  const index = rest.findIndex((word) => /^(-d|--driver)(=|$)/.test(word));
  const driver = index < 0 ? undefined : (/=(.*)$/.exec(rest[index] ?? '')?.[1] ?? rest[index + 1]);
  return print(commandHelp(command, driver, terminalWidth()));
}

async function createCli(sudoPasswordValue: unknown): Promise<Cli> {
  const home = slipwayHome();
  const [{ openStore }, { openImageStore }, progressOf] = await Promise.all([
    import('../machine/store.ts'),
    import('../images/image-store.ts'),
    openView(),
  ]);
  const base = createWorld({
    store: openStore(home),
    progress: progressOf(),
    signal: interrupt.signal,
    sudoPassword: typeof sudoPasswordValue === 'string' ? sudoPasswordValue : undefined,
    debug: outputFlags.debug ? (line) => say(`debug ${line}`) : () => {},
    startSpareBuild: async (spec) =>
      (await import('./prewarm.ts')).startPrewarm(spec, [node, script], process.env, home),
  });
  const world = { ...base, links: createLinks(base, [node, script]) };
  return {
    world,
    images: openImageStore(home),
    makeImage: async (...call) => (await import('../drivers/registry.ts')).makeImage(...call),
    findImageUsers: async (image) => (await import('../images/image-users.ts')).findImageUsers(home, image),
    env: process.env,
    nodeVersion: process.version,
    packageFile,
    interactive: isInteractive() && !outputFlags.json,
    width: terminalWidth(),
    color,
    screen: createScreen(),
    program: 'slipway',
    progressOf,
    setEnvForRun,
    say,
  };
}

function createScreen(): OutputScreen {
  const { stdout, env } = process;
  return {
    write: (text) => void stdout.write(text),
    waitUntilDrained: () => new Promise((resolve) => stdout.write('', () => resolve())),
    size: () =>
      stdout.isTTY === true && env.TERM !== 'dumb'
        ? { columns: stdout.columns || 80, rows: stdout.rows || 24 }
        : undefined,
    json: outputFlags.json,
  };
}

function setEnvForRun(variable: string, value: string | undefined): void {
  if (value === undefined) delete process.env[variable];
  else process.env[variable] = value;
}

/**
 * Opens the progress view. The returned function creates each machine's progress once, and then returns the same one.
 */
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
  // Lines of --debug belong between those of the steps, and a build server shows a log.
  const isLive = stderr.isTTY && !outputFlags.debug && env.TERM !== 'dumb' && !env.CI;
  if (!isLive) return createPlainView(say);
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

/** Loads what explains errors of files only when there is an error. */
async function explainError(error: unknown): Promise<unknown> {
  return await (await import('../terminal/explain-file-error.ts')).explainFileError(error);
}

async function reportFailure(error: unknown): Promise<number> {
  view?.close();
  const { toErrorDocument, formatError } = await import('../terminal/text-output.ts');
  if (!(error instanceof SlipwayError)) {
    const message = reasonOf(error);
    if (outputFlags.json && hasPrintedEvent) printEvent({ event: 'error', error: { code: 'BUG', message } });
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    say('This is a bug in Slipway. Please report it with the lines above and the command that you typed.');
    return 1;
  }
  if (outputFlags.json) printJson({ event: 'error', ...toErrorDocument(error) }, toErrorDocument(error));
  say(formatError(error, color, process.stderr.columns || undefined));
  return exitCodes[error.code];
}

function hasFlag(flag: string): boolean {
  const end = argv.indexOf('--');
  // The words after `ssh` belong to the remote command.
  const ssh = argv.indexOf('ssh');
  const isSsh = ssh >= 0 && argv.slice(0, ssh).every((word) => word.startsWith('-'));
  const words = argv.slice(0, end < 0 ? undefined : end);
  return (isSsh ? words.slice(0, ssh) : words).includes(`--${flag}`);
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

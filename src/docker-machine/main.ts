/** `docker-machine`, and as a plugin of the docker CLI `docker machine`: the old tool's command line over the same machines. */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { interruption, packageFile, worldHere } from '../terminal/process-world.ts';
import type { MachineProgress, View } from '../terminal/progress.ts';
import { canceled, SlipwayError } from '../errors.ts';
import type { World } from '../operations/world.ts';
import { nearest } from '../did-you-mean.ts';
import type { Call, OldCommand } from './command.ts';
import { commands } from './commands/all.ts';
import { Failure, failureOf, INTERRUPTED } from './failure.ts';
import { goBool, parseFlags, type Flag, type FlagValues } from './flags.ts';
import { commandHelp, globalFlags, PROGRAM, programHelp } from './help.ts';

/** The version of the old tool whose command line this is: clients compare it. */
const SPOKEN = '0.16.2';
/** The docker CLI asks a plugin this, and hands it its own whole command line under the second one. */
const METADATA = 'docker-cli-plugin-metadata';
const AS_PLUGIN = 'DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND';

const interrupt = interruption();
const typed = process.argv.slice(2);
const argv = process.env[AS_PLUGIN] === undefined ? typed : typed.slice(typed.indexOf('machine') + 1);
const debugging = isDebugging();
let view: View | undefined;

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second one does not wait for anything.
    if (interrupt.signal.aborted) process.exit(INTERRUPTED);
    interrupt.abort();
  });
}
// A reader that went away (`docker-machine ls | head -1`) is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}
process.on('exit', () => view?.close());
// Taken out of the environment, so that no child of ours inherits it.
const sudoPassword = process.env.SLIPWAY_SUDO_PASSWORD;
delete process.env.SLIPWAY_SUDO_PASSWORD;
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = fail(interrupt.signal.aborted && !(error instanceof Failure) ? canceled() : error);
}
// Open sockets of a connection that was given up must not hold the process.
process.stdout.write('', () => process.exit());

async function main(): Promise<number> {
  if (typed[0] === METADATA) return await metadata();
  const at = commandAt(argv);
  const globals = parseFlags(globalFlags, argv.slice(0, at), process.env).values;
  const name = argv[at];
  if (globals.version === true) return print(await versionLine());
  if (name === undefined || name === 'help' || globals.help === true)
    return await help(name === 'help' ? argv[at + 1] : name);
  const command = await (await entryNamed(name)).load();
  const rest = argv.slice(at + 1);
  return await run(command, rest, globals);
}

/** Where the command stands: behind the global flags and their values. */
function commandAt(words: readonly string[]): number {
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (!word.startsWith('-')) return at;
    const flag = globalFlags.find(({ names }) => names.includes(word.replace(/^--?/, '')));
    if (flag !== undefined && flag.kind !== 'switch') at += 1;
  }
  return words.length;
}

async function run(command: OldCommand, rest: readonly string[], globals: FlagValues): Promise<number> {
  const root = String(globals['storage-path'] ?? '') || join(homedir(), '.docker', 'machine');
  const { openMachineStore } = await import('./store.ts');
  const progressOf = await openView(command);
  const world = {
    ...worldHere({
      store: openMachineStore(root),
      records: root,
      progress: progressOf(),
      signal: interrupt.signal,
      sudoPassword,
      debug,
    }),
    // No context is of this store, and none is found where there are none.
    places: { dockerConfig: root, dockerMachine: root, ssh: root },
  } satisfies World;
  const around = { env: process.env, world, argv: rest };
  if (asksForHelp(command, rest)) return print(commandHelp(command, await flagsOf(command, rest, around, true)));
  const flags = await flagsOf(command, rest, around, false);
  const parsed = command.raw ? { words: rest, values: {}, typed: {} } : parsedBy(command, flags, rest);
  const several = parsed.words.length > 1;
  const call: Call = {
    ...around,
    ...parsed,
    argv: [PROGRAM, ...argv],
    root,
    globals: { ...globals, debug: debugging },
    worldOf: (name) => (several ? { ...world, progress: progressOf(name) } : world),
    ended: (name, error) => several && progressOf(name).end(error),
    done: () => view?.close(),
    lend: (variable, value) => {
      if (value === undefined) delete process.env[variable];
      else process.env[variable] = value;
    },
    out: print,
    say,
    ask,
    version: await versionLine(),
  };
  return (await command.run(call)) ?? 0;
}

function parsedBy(command: OldCommand, flags: readonly Flag[], rest: readonly string[]): ReturnType<typeof parseFlags> {
  try {
    return parseFlags(flags, rest, process.env);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure(`${error.message}\nSee: ${PROGRAM} ${command.name} --help`, { cause: error });
  }
}

/** With those of the driver; help is shown also where none can be told. */
async function flagsOf(
  command: OldCommand,
  rest: readonly string[],
  around: Pick<Call, 'env' | 'world'>,
  lenient: boolean,
): Promise<readonly Flag[]> {
  const more = await (command.more?.(rest, around) ?? []);
  const always: readonly Flag[] = lenient ? [] : [{ names: ['debug', 'D'], kind: 'switch', usage: '' }];
  return [
    ...command.flags,
    ...more,
    ...always.filter(({ names }) => !command.flags.some((flag) => flag.names.includes(names[1] ?? ''))),
  ];
}

function asksForHelp({ raw }: OldCommand, rest: readonly string[]): boolean {
  const end = rest.indexOf('--');
  const ours = raw ? rest.slice(0, 1) : rest.slice(0, end < 0 ? undefined : end);
  return ours.some((word) => /^--?(h|help)$/.test(word));
}

async function entryNamed(name: string): Promise<(typeof commands)[number]> {
  const entry = commands.find((one) => one.name === name);
  if (entry) return entry;
  const near = nearest(
    name,
    commands.map((one) => one.name),
  );
  const meant = near === undefined ? '' : ` Did you mean "${near}"?`;
  throw new Failure(`${PROGRAM}: '${name}' is not a ${PROGRAM} command. See '${PROGRAM} --help'.${meant}`);
}

async function help(topic: string | undefined): Promise<number> {
  if (topic === undefined) return print(programHelp(commands, await versionNumber()));
  const command = await (await entryNamed(topic)).load();
  return print(commandHelp(command, command.flags));
}

async function openView({ lendsStdout }: OldCommand): Promise<(machine?: string) => MachineProgress> {
  const { hasUnicode, liveView, progressIn } = await import('../terminal/progress.ts');
  const { oldView } = await import('./progress.ts');
  const { env, platform, stderr, stdout } = process;
  const live = stderr.isTTY && stdout.isTTY && !debugging && env.TERM !== 'dumb' && !env.CI;
  const color = !env.NO_COLOR && live;
  const opened = live
    ? liveView({ stream: stderr, others: [stdout], color, unicode: hasUnicode(platform, env) })
    : oldView(lendsStdout === true ? say : print, debug);
  view = opened;
  const known = new Map<string | undefined, MachineProgress>();
  return (machine) => {
    const progress = known.get(machine) ?? progressIn(opened, machine);
    known.set(machine, progress);
    return progress;
  };
}

/** Of a question asked of nobody the answer is none. */
async function ask(question: string): Promise<string> {
  process.stdout.write(question);
  const lines = createInterface({ input: process.stdin });
  try {
    const answer = await Promise.race([lines[Symbol.asyncIterator]().next(), aborted()]);
    if (answer === undefined) throw failureOf(canceled());
    return answer.done === true ? '' : answer.value;
  } finally {
    lines.close();
  }
}

function aborted(): Promise<undefined> {
  return new Promise((resolve) => {
    interrupt.signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

async function metadata(): Promise<number> {
  return print(
    JSON.stringify({
      SchemaVersion: '0.1.0',
      Vendor: 'Slipway',
      Version: await ownVersion(),
      ShortDescription: 'Create and manage machines running Docker',
    }),
  );
}

async function ownVersion(): Promise<string> {
  return (JSON.parse(await readFile(packageFile, 'utf8')) as { version: string }).version;
}

async function versionNumber(): Promise<string> {
  return `${SPOKEN}, build slipway-${await ownVersion()}`;
}

async function versionLine(): Promise<string> {
  return `${PROGRAM} version ${await versionNumber()}`;
}

/** Anywhere before what is somebody else's command line. */
function isDebugging(): boolean {
  const at = argv.indexOf('ssh');
  const ours = at < 0 ? argv : argv.slice(0, at);
  if (ours.some((word) => /^(-D|--?debug)$/.test(word))) return true;
  return goBool(process.env.MACHINE_DEBUG ?? '') ?? false;
}

function fail(error: unknown): number {
  view?.close();
  const failure = error instanceof SlipwayError ? failureOf(error) : error;
  if (failure instanceof Failure) {
    say(failure.message);
    return failure.status;
  }
  say(error instanceof Error ? (error.stack ?? error.message) : String(error));
  say('This is a bug in Slipway. Please report it with the lines above and what you typed.');
  return 1;
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function debug(line: string): void {
  if (debugging) say(line);
}

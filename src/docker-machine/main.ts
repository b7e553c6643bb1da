/** `docker-machine`, and as a plugin of the docker CLI `docker machine`: the old tool's command line over the same machines. */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { createInterruptController, packageFile, createWorld } from '../terminal/process-world.ts';
import type { MachineProgress, ProgressView } from '../terminal/progress-views.ts';
import { canceledError, SlipwayError } from '../errors.ts';
import type { World } from '../operations/world.ts';
import { findNearestWord } from '../did-you-mean.ts';
import type { DockerMachineInvocation, DockerMachineCommand } from './docker-machine-command.ts';
import { commands } from './commands/docker-machine-command-list.ts';
import { DockerMachineError, toDockerMachineError, INTERRUPTED_STATUS } from './docker-machine-error.ts';
import { parseGoBool, parseFlags, type Flag, type FlagValues } from './go-flags.ts';
import { formatCommandHelp, globalFlags, PROGRAM, formatProgramHelp } from './help.ts';

/** The version of the old tool whose command line this is: clients compare it. */
const COMPATIBLE_VERSION = '0.16.2';
/** The docker CLI asks a plugin this, and hands it its own whole command line under the second one. */
const PLUGIN_METADATA_COMMAND = 'docker-cli-plugin-metadata';
const PLUGIN_COMMAND_VARIABLE = 'DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND';

const interruptController = createInterruptController();
const processArgs = process.argv.slice(2);
const argv =
  process.env[PLUGIN_COMMAND_VARIABLE] === undefined
    ? processArgs
    : processArgs.slice(processArgs.indexOf('machine') + 1);
const debugging = isDebugging();
let view: ProgressView | undefined;

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second one does not wait for anything.
    if (interruptController.signal.aborted) process.exit(INTERRUPTED_STATUS);
    interruptController.abort();
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
  process.exitCode = reportFailure(
    interruptController.signal.aborted && !(error instanceof DockerMachineError) ? canceledError() : error,
  );
}
// Open sockets of a connection that was given up must not hold the process.
process.stdout.write('', () => process.exit());

async function main(): Promise<number> {
  if (processArgs[0] === PLUGIN_METADATA_COMMAND) return await printPluginMetadata();
  const at = findCommandIndex(argv);
  const globals = parseFlags(globalFlags, argv.slice(0, at), process.env).values;
  const name = argv[at];
  if (globals.version === true) return print(await readVersionLine());
  if (name === undefined || name === 'help' || globals.help === true)
    return await printHelp(name === 'help' ? argv[at + 1] : name);
  const command = await (await requireCommandEntry(name)).load();
  const rest = argv.slice(at + 1);
  return await runCommand(command, rest, globals);
}

/** Where the command stands: behind the global flags and their values. */
function findCommandIndex(words: readonly string[]): number {
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (!word.startsWith('-')) return at;
    const flag = globalFlags.find(({ names }) => names.includes(word.replace(/^--?/, '')));
    if (flag !== undefined && flag.kind !== 'switch') at += 1;
  }
  return words.length;
}

async function runCommand(
  command: DockerMachineCommand,
  rest: readonly string[],
  globals: FlagValues,
): Promise<number> {
  const root = String(globals['storage-path'] ?? '') || join(homedir(), '.docker', 'machine');
  const { openDockerMachineStore } = await import('./docker-machine-store.ts');
  const progressOf = await openProgressView(command);
  const world = {
    ...createWorld({
      store: openDockerMachineStore(root),
      records: root,
      progress: progressOf(),
      signal: interruptController.signal,
      sudoPassword,
      debug: printDebug,
    }),
    // No context is of this store, and none is found where there are none.
    clientPaths: { dockerConfig: root, dockerMachine: root, ssh: root },
  } satisfies World;
  const around = { env: process.env, world, argv: rest };
  if (hasHelpFlag(command, rest))
    return print(formatCommandHelp(command, await loadCommandFlags(command, rest, around, true)));
  const flags = await loadCommandFlags(command, rest, around, false);
  const parsed = command.raw ? { words: rest, values: {}, typed: {} } : parseCommandFlags(command, flags, rest);
  const several = parsed.words.length > 1;
  const call: DockerMachineInvocation = {
    ...around,
    ...parsed,
    argv: [PROGRAM, ...argv],
    root,
    globals: { ...globals, debug: debugging },
    worldOf: (name) => (several ? { ...world, progress: progressOf(name) } : world),
    reportEnd: (name, error) => several && progressOf(name).end(error),
    closeProgress: () => view?.close(),
    setEnvForRun: (variable, value) => {
      if (value === undefined) delete process.env[variable];
      else process.env[variable] = value;
    },
    print: print,
    say,
    ask,
    version: await readVersionLine(),
  };
  return (await command.run(call)) ?? 0;
}

function parseCommandFlags(
  command: DockerMachineCommand,
  flags: readonly Flag[],
  rest: readonly string[],
): ReturnType<typeof parseFlags> {
  try {
    return parseFlags(flags, rest, process.env);
  } catch (error) {
    if (!(error instanceof DockerMachineError)) throw error;
    throw new DockerMachineError(`${error.message}\nSee: ${PROGRAM} ${command.name} --help`, { cause: error });
  }
}

/** With those of the driver; help is shown also where none can be told. */
async function loadCommandFlags(
  command: DockerMachineCommand,
  rest: readonly string[],
  around: Pick<DockerMachineInvocation, 'env' | 'world'>,
  lenient: boolean,
): Promise<readonly Flag[]> {
  const more = await (command.loadDriverFlags?.(rest, around) ?? []);
  const always: readonly Flag[] = lenient ? [] : [{ names: ['debug', 'D'], kind: 'switch', usage: '' }];
  return [
    ...command.flags,
    ...more,
    ...always.filter(({ names }) => !command.flags.some((flag) => flag.names.includes(names[1] ?? ''))),
  ];
}

function hasHelpFlag({ raw }: DockerMachineCommand, rest: readonly string[]): boolean {
  const end = rest.indexOf('--');
  const ours = raw ? rest.slice(0, 1) : rest.slice(0, end < 0 ? undefined : end);
  return ours.some((word) => /^--?(h|help)$/.test(word));
}

async function requireCommandEntry(name: string): Promise<(typeof commands)[number]> {
  const entry = commands.find((one) => one.name === name);
  if (entry) return entry;
  const near = findNearestWord(
    name,
    commands.map((one) => one.name),
  );
  const meant = near === undefined ? '' : ` Did you mean "${near}"?`;
  throw new DockerMachineError(`${PROGRAM}: '${name}' is not a ${PROGRAM} command. See '${PROGRAM} --help'.${meant}`);
}

async function printHelp(topic: string | undefined): Promise<number> {
  if (topic === undefined) return print(formatProgramHelp(commands, await readVersionNumber()));
  const command = await (await requireCommandEntry(topic)).load();
  return print(formatCommandHelp(command, command.flags));
}

async function openProgressView({
  reservesStdout,
}: DockerMachineCommand): Promise<(machine?: string) => MachineProgress> {
  const { hasUnicode, createLiveView, createProgress } = await import('../terminal/progress-views.ts');
  const { createLineView } = await import('./line-progress.ts');
  const { env, platform, stderr, stdout } = process;
  const live = stderr.isTTY && stdout.isTTY && !debugging && env.TERM !== 'dumb' && !env.CI;
  const color = !env.NO_COLOR && live;
  const opened = live
    ? createLiveView({ stream: stderr, others: [stdout], color, unicode: hasUnicode(platform, env) })
    : createLineView(reservesStdout === true ? say : print, printDebug);
  view = opened;
  const known = new Map<string | undefined, MachineProgress>();
  return (machine) => {
    const progress = known.get(machine) ?? createProgress(opened, machine);
    known.set(machine, progress);
    return progress;
  };
}

/** Of a question asked of nobody the answer is none. */
async function ask(question: string): Promise<string> {
  process.stdout.write(question);
  const lines = createInterface({ input: process.stdin });
  try {
    const answer = await Promise.race([lines[Symbol.asyncIterator]().next(), waitForInterrupt()]);
    if (answer === undefined) throw toDockerMachineError(canceledError());
    return answer.done === true ? '' : answer.value;
  } finally {
    lines.close();
  }
}

function waitForInterrupt(): Promise<undefined> {
  return new Promise((resolve) => {
    interruptController.signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

async function printPluginMetadata(): Promise<number> {
  return print(
    JSON.stringify({
      SchemaVersion: '0.1.0',
      Vendor: 'Slipway',
      Version: await readOwnVersion(),
      ShortDescription: 'Create and manage machines running Docker',
    }),
  );
}

async function readOwnVersion(): Promise<string> {
  return (JSON.parse(await readFile(packageFile, 'utf8')) as { version: string }).version;
}

async function readVersionNumber(): Promise<string> {
  return `${COMPATIBLE_VERSION}, build slipway-${await readOwnVersion()}`;
}

async function readVersionLine(): Promise<string> {
  return `${PROGRAM} version ${await readVersionNumber()}`;
}

/** Anywhere before what is somebody else's command line. */
function isDebugging(): boolean {
  const at = argv.indexOf('ssh');
  const ours = at < 0 ? argv : argv.slice(0, at);
  if (ours.some((word) => /^(-D|--?debug)$/.test(word))) return true;
  return parseGoBool(process.env.MACHINE_DEBUG ?? '') ?? false;
}

function reportFailure(error: unknown): number {
  view?.close();
  const failure = error instanceof SlipwayError ? toDockerMachineError(error) : error;
  if (failure instanceof DockerMachineError) {
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

function printDebug(line: string): void {
  if (debugging) say(line);
}

/**
 * The program `docker-machine`, which as a plugin of the docker CLI is also `docker machine`: Docker Machine's command
 * line for machines of Slipway.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import {
  createInterruptController,
  createWorld,
  ignoreClosedPipes,
  packageFile,
  prepareEnvironment,
} from '../terminal/process-world.ts';
import { runMain } from '../terminal/run-main.ts';
import type { MachineProgress, ProgressView } from '../terminal/progress-views.ts';
import { canceledError, SlipwayError } from '../errors.ts';
import { explainFileError } from '../terminal/explain-file-error.ts';
import type { World } from '../operations/world.ts';
import { findNearestWord } from '../did-you-mean.ts';
import type { DockerMachineInvocation, DockerMachineCommand } from './docker-machine-command.ts';
import { commands } from './commands/docker-machine-command-list.ts';
import { DockerMachineError, toDockerMachineError, INTERRUPTED_STATUS } from './docker-machine-error.ts';
import { parseGoBool, parseFlags, type Flag, type FlagValues } from './go-flags.ts';
import { formatCommandHelp, globalFlags, PROGRAM, formatProgramHelp } from './help.ts';

/** The version of Docker Machine with which this command line is compatible; clients compare it. */
const COMPATIBLE_VERSION = '0.16.2';
/** The docker CLI calls a plugin with this command to learn what it is. */
const PLUGIN_METADATA_COMMAND = 'docker-cli-plugin-metadata';
/** The docker CLI sets this variable when it runs a plugin, and passes its own whole command line as arguments. */
const PLUGIN_COMMAND_VARIABLE = 'DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND';

const interruptController = createInterruptController(INTERRUPTED_STATUS);
const processArgs = process.argv.slice(2);
const argv =
  process.env[PLUGIN_COMMAND_VARIABLE] === undefined
    ? processArgs
    : processArgs.slice(processArgs.indexOf('machine') + 1);
const debugging = isDebugging();
let view: ProgressView | undefined;

ignoreClosedPipes();
process.on('exit', () => view?.close());
const sudoPassword = prepareEnvironment();

await runMain(main, async (error) =>
  reportFailure(
    interruptController.signal.aborted && !(error instanceof DockerMachineError)
      ? canceledError()
      : await explainFileError(error),
  ),
);

async function main(): Promise<number> {
  if (processArgs[0] === PLUGIN_METADATA_COMMAND) return await printPluginMetadata();
  const index = findCommandIndex(argv);
  const globals = parseFlags(globalFlags, argv.slice(0, index), process.env).values;
  const name = argv[index];
  if (globals.version === true) return print(await readVersionLine());
  if (name === undefined || name === 'help' || globals.help === true)
    return await printHelp(name === 'help' ? argv[index + 1] : name);
  const command = await findCommandEntry(name).load();
  return await runCommand(command, argv.slice(index + 1), globals);
}

/** Returns the command's position, after the global flags and their values. */
function findCommandIndex(words: readonly string[]): number {
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    if (!word.startsWith('-')) return index;
    const flag = globalFlags.find(({ names }) => names.includes(word.replace(/^--?/, '')));
    if (flag !== undefined && flag.kind !== 'switch') index += 1;
  }
  return words.length;
}

async function runCommand(
  command: DockerMachineCommand,
  rest: readonly string[],
  globals: FlagValues,
): Promise<number> {
  const root = String(globals['storage-path'] ?? '') || join(homedir(), '.docker', 'machine');
  const progressOf = await openProgressView(command);
  const world = await createDropInWorld(root, progressOf());
  const context = { env: process.env, world, argv: rest };
  if (hasHelpFlag(command, rest))
    return print(formatCommandHelp(command, await loadCommandFlags(command, rest, context, true)));
  const flags = await loadCommandFlags(command, rest, context, false);
  const parsed = command.raw ? { words: rest, values: {}, typed: {} } : parseCommandFlags(command, flags, rest);
  const hasRows = parsed.words.length > 1;
  const call: DockerMachineInvocation = {
    ...context,
    ...parsed,
    argv: [PROGRAM, ...argv],
    root,
    globals: { ...globals, debug: debugging },
    worldOf: (name) => (hasRows ? { ...world, progress: progressOf(name) } : world),
    reportEnd: (name, error) => hasRows && progressOf(name).end(error),
    closeProgress: () => view?.close(),
    setEnvForRun,
    print,
    say,
    ask,
    version: await readVersionLine(),
  };
  return (await command.run(call)) ?? 0;
}

async function createDropInWorld(root: string, progress: MachineProgress): Promise<World> {
  const { openDockerMachineStore } = await import('./docker-machine-store.ts');
  const world = createWorld({
    store: openDockerMachineStore(root),
    storeHome: root,
    progress,
    signal: interruptController.signal,
    sudoPassword,
    debug: printDebug,
  });
  // Machines of this store have no client profiles, and none are found below the store's root.
  return { ...world, clientPaths: { dockerConfig: root, dockerMachine: root, ssh: root } };
}

function setEnvForRun(variable: string, value: string | undefined): void {
  if (value === undefined) delete process.env[variable];
  else process.env[variable] = value;
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

/**
 * Returns the command's flags, those of the driver and, unless they are for the help, `--debug`, which Docker Machine
 * accepts anywhere.
 */
async function loadCommandFlags(
  command: DockerMachineCommand,
  rest: readonly string[],
  context: Pick<DockerMachineInvocation, 'env' | 'world'>,
  forHelp: boolean,
): Promise<readonly Flag[]> {
  const driverFlags = await (command.loadDriverFlags?.(rest, context) ?? []);
  const debugFlags: readonly Flag[] = forHelp ? [] : [{ names: ['debug', 'D'], kind: 'switch', usage: '' }];
  return [
    ...command.flags,
    ...driverFlags,
    ...debugFlags.filter(({ names }) => !command.flags.some((flag) => flag.names.includes(names[1] ?? ''))),
  ];
}

function hasHelpFlag({ raw }: DockerMachineCommand, rest: readonly string[]): boolean {
  const end = rest.indexOf('--');
  // The arguments after `--`, and those of another program, are not this program's flags.
  const words = raw ? rest.slice(0, 1) : rest.slice(0, end < 0 ? undefined : end);
  return words.some((word) => /^--?(h|help)$/.test(word));
}

function findCommandEntry(name: string): (typeof commands)[number] {
  const entry = commands.find((candidate) => candidate.name === name);
  if (entry) return entry;
  const nearest = findNearestWord(
    name,
    commands.map((candidate) => candidate.name),
  );
  const suggestion = nearest === undefined ? '' : ` Did you mean "${nearest}"?`;
  throw new DockerMachineError(
    `${PROGRAM}: '${name}' is not a ${PROGRAM} command. See '${PROGRAM} --help'.${suggestion}`,
  );
}

async function printHelp(topic: string | undefined): Promise<number> {
  if (topic === undefined) return print(formatProgramHelp(commands, await readVersionNumber()));
  const command = await findCommandEntry(topic).load();
  return print(formatCommandHelp(command, command.flags));
}

/** Opens the view that fits stdout and stderr. The returned function gives each machine its own row. */
async function openProgressView({
  reservesStdout,
}: DockerMachineCommand): Promise<(machine?: string) => MachineProgress> {
  const { hasUnicode, createLiveView, createProgress } = await import('../terminal/progress-views.ts');
  const { createLineView } = await import('./line-progress.ts');
  const { env, platform, stderr, stdout } = process;
  const isLive = stderr.isTTY && stdout.isTTY && !debugging && env.TERM !== 'dumb' && !env.CI;
  const color = !env.NO_COLOR && isLive;
  const opened = isLive
    ? createLiveView({ stream: stderr, others: [stdout], color, unicode: hasUnicode(platform, env) })
    : createLineView(reservesStdout === true ? say : print, printDebug);
  view = opened;
  const progresses = new Map<string | undefined, MachineProgress>();
  return (machine) => {
    const progress = progresses.get(machine) ?? createProgress(opened, machine);
    progresses.set(machine, progress);
    return progress;
  };
}

/**
 * Asks a question on stdout and returns a line from stdin; '' at the end of stdin. Throws CANCELED on an interruption.
 */
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

/** Returns whether `--debug` precedes the arguments of ssh, or MACHINE_DEBUG is true. */
function isDebugging(): boolean {
  const sshIndex = argv.indexOf('ssh');
  const words = sshIndex < 0 ? argv : argv.slice(0, sshIndex);
  if (words.some((word) => /^(-D|--?debug)$/.test(word))) return true;
  return parseGoBool(process.env.MACHINE_DEBUG ?? '') ?? false;
}

/** Prints the error and returns the exit status. */
function reportFailure(error: unknown): number {
  view?.close();
  const failure = error instanceof SlipwayError ? toDockerMachineError(error) : error;
  if (failure instanceof DockerMachineError) {
    say(failure.message);
    return failure.status;
  }
  say(error instanceof Error ? (error.stack ?? error.message) : String(error));
  say('This is a bug in Slipway. Please report it with the lines above and the command that you typed.');
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

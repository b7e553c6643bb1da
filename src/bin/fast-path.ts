import { openStore } from '../machine/store.ts';
import type { Cli, Command, CommandResult } from '../cli/command.ts';
import { active } from '../cli/commands/active.ts';
import { config } from '../cli/commands/config.ts';
import { env } from '../cli/commands/env.ts';
import { ip } from '../cli/commands/ip.ts';
import { ls } from '../cli/commands/ls.ts';
import { url } from '../cli/commands/url.ts';
import { version } from '../cli/commands/version.ts';
import type { StubSchema, StubObject } from './zod-stub.ts';
import { packageFile, slipwayHome, createWorld } from '../terminal/process-world.ts';

/**
 * Commands that can answer from files alone. They are the full program's commands, but a dynamic import throws here
 * (build.mjs), and the command then runs in full.
 */
const fastCommands: Readonly<Record<string, Command>> = Object.fromEntries(
  [active, config, env, ip, ls, url, version].map((command) => [command.name, command as unknown as Command]),
);

export type ProcessInfo = Pick<Cli, 'env' | 'nodeVersion'>;

/**
 * Returns what a fast command prints on stdout, if the output is certain to be right and the exit status is 0. Returns
 * undefined for any other call and on any failure: the caller then runs the command in full, which reports errors. The
 * fast path changes and writes nothing, so running again is safe.
 */
export async function runFastPath(argv: readonly string[], processInfo: ProcessInfo): Promise<string | undefined> {
  const command = fastCommands[argv[0] ?? ''];
  if (command === undefined) return undefined;
  try {
    const input = parseSimpleArgv(command, argv.slice(1), processInfo.env);
    return input && formatOutput(await command.run(input, createFileOnlyCli(input, processInfo)), input.json);
  } catch {
    return undefined;
  }
}

type FastPathInput = Parameters<Command['run']>[0] & { readonly json: boolean };

/** Reads positionals and flags written out in full. Returns undefined for anything else: the full parser reads it. */
function parseSimpleArgv(
  command: Command,
  argv: readonly string[],
  environment: Cli['env'],
): FastPathInput | undefined {
  const { shape } = command.args as unknown as StubObject;
  const options = Object.entries(shape).map(([key, declared]) => ({
    key,
    declared,
    names: flagNamesOf(key, declared),
  }));
  if (
    options.some(
      ({ declared: { acceptsUndefined, metadata } }) =>
        !acceptsUndefined || (metadata.env && environment[metadata.env]),
    )
  )
    return undefined;
  const values: Record<string, unknown> = {};
  const positionals: string[] = [];
  let json = false;
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? '';
    const option = options.find(({ names }) => names.includes(word));
    if (option?.declared.kind === 'boolean') values[option.key] = true;
    else if (option?.declared.kind === 'choice' && option.declared.choices.includes(argv[at + 1] ?? '')) {
      at += 1;
      values[option.key] = argv[at];
    } else if (option === undefined && word === '--json') json = true;
    else if (option === undefined && !word.startsWith('-')) positionals.push(word);
    else return undefined;
  }
  const args = { ...Object.fromEntries(options.map(({ key, declared }) => [key, declared.defaultValue])), ...values };
  return isAcceptedCount(command.usage, positionals.length)
    ? { positionals, args, flags: json ? { json } : {}, json }
    : undefined;
}

function flagNamesOf(key: string, { metadata: { flag = key, short } }: StubSchema): readonly string[] {
  return [...(/[A-Z]/.test(flag) ? [] : [`--${flag}`]), ...(short === undefined ? [] : [`-${short}`])];
}

/** Tells from the usage line (`<name>`, `[name]`, `<names...>`) whether the command takes this many positionals. */
function isAcceptedCount(usage: string, count: number): boolean {
  const min = usage.split('<').length - 1;
  const max = usage.includes('...') ? Number.POSITIVE_INFINITY : usage.split(/[<[]/).length - 1;
  return count >= min && count <= max;
}

/**
 * Returns the parts of `Cli` that a command needs to answer from files. Use of any other part throws, and the command
 * then runs in full.
 */
function createFileOnlyCli({ json }: FastPathInput, { env, nodeVersion }: ProcessInfo): Cli {
  const unavailable = undefined as never;
  const parts: Pick<Cli, 'world' | 'env' | 'nodeVersion' | 'packageFile' | 'program'> & { readonly screen: object } = {
    world: createWorld({
      store: openStore(slipwayHome()),
      progress: unavailable,
      signal: unavailable,
      sudoPassword: undefined,
      debug: unavailable,
    }),
    env,
    nodeVersion,
    packageFile,
    program: 'slipway',
    screen: { json },
  };
  return parts as Cli;
}

function formatOutput({ json, text, status = 0 }: CommandResult, asJson: boolean): string | undefined {
  if (status !== 0 || (asJson && json === undefined)) return undefined;
  if (asJson) return `${JSON.stringify(json, null, 2)}\n`;
  return text === '' ? '' : `${text}\n`;
}

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
 * The commands that can answer from files alone. They are the same as in the full program, but their dynamic imports
 * throw here, which makes the full program run instead.
 */
const fastCommands: Readonly<Record<string, Command>> = Object.fromEntries(
  [active, config, env, ip, ls, url, version].map((command) => [command.name, command as unknown as Command]),
);

export type ProcessInfo = Pick<Cli, 'env' | 'nodeVersion'>;

/**
 * Returns what a call prints on stdout, if files alone can answer it. Returns undefined for any other call and after any
 * error: the full program then runs the call from the start and reports the error. Nothing has been changed or written
 * by then.
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

/**
 * Parses words and flags that are written out in full. Returns undefined for anything else, such as `--flag=value`,
 * abbreviations and options that come from the environment: the full parser handles those.
 */
function parseSimpleArgv(command: Command, argv: readonly string[], variables: Cli['env']): FastPathInput | undefined {
  const { shape } = command.args as unknown as StubObject;
  const options = Object.entries(shape).map(([key, schema]) => ({ key, schema, names: flagNamesOf(key, schema) }));
  if (
    options.some(
      ({ schema: { acceptsUndefined, metadata } }) => !acceptsUndefined || (metadata.env && variables[metadata.env]),
    )
  )
    return undefined;
  const typed: Record<string, unknown> = {};
  const positionals: string[] = [];
  let json = false;
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? '';
    const option = options.find(({ names }) => names.includes(word));
    if (option?.schema.kind === 'boolean') typed[option.key] = true;
    else if (option?.schema.kind === 'choice' && option.schema.choices.includes(argv[at + 1] ?? '')) {
      at += 1;
      typed[option.key] = argv[at];
    } else if (option === undefined && word === '--json') json = true;
    else if (option === undefined && !word.startsWith('-')) positionals.push(word);
    else return undefined;
  }
  const args = { ...Object.fromEntries(options.map(({ key, schema }) => [key, schema.defaultValue])), ...typed };
  return isAcceptedCount(command.usage, positionals.length)
    ? { positionals, args, flags: json ? { json } : {}, json }
    : undefined;
}

function flagNamesOf(key: string, { metadata: { flag = key, short } }: StubSchema): readonly string[] {
  return [...(/[A-Z]/.test(flag) ? [] : [`--${flag}`]), ...(short === undefined ? [] : [`-${short}`])];
}

/** Returns whether the usage line (`<name>`, `[name]`, `<names...>`) accepts this number of words. */
function isAcceptedCount(usage: string, count: number): boolean {
  const minimum = usage.split('<').length - 1;
  const maximum = usage.includes('...') ? Number.POSITIVE_INFINITY : usage.split(/[<[]/).length - 1;
  return count >= minimum && count <= maximum;
}

/**
 * Returns a `Cli` with only the members that commands need to answer from files. Use of any other member throws, so the
 * full program runs the command instead.
 */
function createFileOnlyCli({ json }: FastPathInput, { env: variables, nodeVersion }: ProcessInfo): Cli {
  const none = undefined as never;
  const cli: Pick<Cli, 'world' | 'env' | 'nodeVersion' | 'packageFile' | 'program'> & { readonly screen: object } = {
    world: createWorld({
      store: openStore(slipwayHome()),
      progress: none,
      signal: none,
      sudoPassword: undefined,
      debug: none,
    }),
    env: variables,
    nodeVersion,
    packageFile,
    program: 'slipway',
    screen: { json },
  };
  return cli as Cli;
}

function formatOutput({ json, text, status = 0 }: CommandResult, asJson: boolean): string | undefined {
  if (status !== 0 || (asJson && json === undefined)) return undefined;
  if (asJson) return `${JSON.stringify(json, null, 2)}\n`;
  return text === '' ? '' : `${text}\n`;
}

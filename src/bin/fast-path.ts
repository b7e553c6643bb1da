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
 * Commands that answer from files alone, or can. They are the same as in full; what they import meanwhile is an error
 * here.
 */
const fastCommands: Readonly<Record<string, Command>> = Object.fromEntries(
  [active, config, env, ip, ls, url, version].map((command) => [command.name, command as unknown as Command]),
);

export type ProcessInfo = Pick<Cli, 'env' | 'nodeVersion'>;

/**
 * What such a call prints on stdout, where it is certain to be right and to end well. Undefined is any other call, and
 * any trouble: it is then run in full, from its beginning, which says what there is to say. Nothing has been changed or
 * written before.
 */
export async function runFastPath(argv: readonly string[], here: ProcessInfo): Promise<string | undefined> {
  const command = fastCommands[argv[0] ?? ''];
  if (command === undefined) return undefined;
  try {
    const read = parseSimpleArgv(command, argv.slice(1), here.env);
    return read && formatOutput(await command.run(read, createFileOnlyCli(read, here)), read.json);
  } catch {
    return undefined;
  }
}

type FastPathInput = Parameters<Command['run']>[0] & { readonly json: boolean };

/** Words, and flags that are written out: what else an option may be is left to the parser of all of them. */
function parseSimpleArgv(command: Command, argv: readonly string[], variables: Cli['env']): FastPathInput | undefined {
  const { shape } = command.args as unknown as StubObject;
  const options = Object.entries(shape).map(([key, declared]) => ({
    key,
    declared,
    names: flagNamesOf(key, declared),
  }));
  if (
    options.some(
      ({ declared: { acceptsUndefined, metadata } }) => !acceptsUndefined || (metadata.env && variables[metadata.env]),
    )
  )
    return undefined;
  const own: Record<string, unknown> = {};
  const positionals: string[] = [];
  let json = false;
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? '';
    const option = options.find(({ names }) => names.includes(word));
    if (option?.declared.kind === 'boolean') own[option.key] = true;
    else if (option?.declared.kind === 'choice' && option.declared.choices.includes(argv[at + 1] ?? '')) {
      at += 1;
      own[option.key] = argv[at];
    } else if (option === undefined && word === '--json') json = true;
    else if (option === undefined && !word.startsWith('-')) positionals.push(word);
    else return undefined;
  }
  const args = { ...Object.fromEntries(options.map(({ key, declared }) => [key, declared.defaultValue])), ...own };
  return isAcceptedCount(command.usage, positionals.length)
    ? { positionals, args, flags: json ? { json } : {}, json }
    : undefined;
}

function flagNamesOf(key: string, { metadata: { flag = key, short } }: StubSchema): readonly string[] {
  return [...(/[A-Z]/.test(flag) ? [] : [`--${flag}`]), ...(short === undefined ? [] : [`-${short}`])];
}

/** By what the usage line says: `<name>`, `[name]`, `<names...>`. */
function isAcceptedCount(usage: string, count: number): boolean {
  const least = usage.split('<').length - 1;
  const most = usage.includes('...') ? Number.POSITIVE_INFINITY : usage.split(/[<[]/).length - 1;
  return count >= least && count <= most;
}

/**
 * What a command that answers from files asks of its surroundings; where it asks for more, that is an error, and it is
 * run in full.
 */
function createFileOnlyCli({ json }: FastPathInput, { env: variables, nodeVersion }: ProcessInfo): Cli {
  const none = undefined as never;
  const own: Pick<Cli, 'world' | 'env' | 'nodeVersion' | 'packageFile' | 'program'> & { readonly screen: object } = {
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
  return own as Cli;
}

function formatOutput({ json, text, status = 0 }: CommandResult, asJson: boolean): string | undefined {
  if (status !== 0 || (asJson && json === undefined)) return undefined;
  if (asJson) return `${JSON.stringify(json, null, 2)}\n`;
  return text === '' ? '' : `${text}\n`;
}

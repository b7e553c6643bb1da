import { openStore } from '../machine/store.ts';
import type { Cli, Command, Result } from '../cli/command.ts';
import { active } from '../cli/commands/active.ts';
import { config } from '../cli/commands/config.ts';
import { env } from '../cli/commands/env.ts';
import { ip } from '../cli/commands/ip.ts';
import { ls } from '../cli/commands/ls.ts';
import { url } from '../cli/commands/url.ts';
import { version } from '../cli/commands/version.ts';
import type { Declared, DeclaredObject } from './zod-stub.ts';
import { packageFile, slipwayHome, worldHere } from '../terminal/process-world.ts';

/** Commands that answer from files alone, or can. They are the same as in full; what they import meanwhile is an error here. */
const commands: Readonly<Record<string, Command>> = Object.fromEntries(
  [active, config, env, ip, ls, url, version].map((command) => [command.name, command as unknown as Command]),
);

export type Process = Pick<Cli, 'env' | 'nodeVersion'>;

/**
 * What such a call prints on stdout, where it is certain to be right and to end well. Undefined is any other call, and any trouble: it is
 * then run in full, from its beginning, which says what there is to say. Nothing has been changed or written before.
 */
export async function quickly(argv: readonly string[], here: Process): Promise<string | undefined> {
  const command = commands[argv[0] ?? ''];
  if (command === undefined) return undefined;
  try {
    const read = readWords(command, argv.slice(1), here.env);
    return read && printed(await command.run(read, cliFor(read, here)), read.json);
  } catch {
    return undefined;
  }
}

type Read = Parameters<Command['run']>[0] & { readonly json: boolean };

/** Words, and flags that are written out: what else an option may be is left to the parser of all of them. */
function readWords(command: Command, argv: readonly string[], variables: Cli['env']): Read | undefined {
  const { shape } = command.args as unknown as DeclaredObject;
  const options = Object.entries(shape).map(([key, declared]) => ({ key, declared, names: namesOf(key, declared) }));
  if (options.some(({ declared: { mayLack, said } }) => !mayLack || (said.env && variables[said.env])))
    return undefined;
  const own: Record<string, unknown> = {};
  const words: string[] = [];
  let json = false;
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? '';
    const option = options.find(({ names }) => names.includes(word));
    if (option?.declared.kind === 'boolean') own[option.key] = true;
    else if (option?.declared.kind === 'choice' && option.declared.choices.includes(argv[at + 1] ?? '')) {
      at += 1;
      own[option.key] = argv[at];
    } else if (option === undefined && word === '--json') json = true;
    else if (option === undefined && !word.startsWith('-')) words.push(word);
    else return undefined;
  }
  const args = { ...Object.fromEntries(options.map(({ key, declared }) => [key, declared.initial])), ...own };
  return takes(command.words, words.length) ? { words, args, flags: json ? { json } : {}, json } : undefined;
}

function namesOf(key: string, { said: { flag = key, short } }: Declared): readonly string[] {
  return [...(/[A-Z]/.test(flag) ? [] : [`--${flag}`]), ...(short === undefined ? [] : [`-${short}`])];
}

/** By what the usage line says: `<name>`, `[name]`, `<names...>`. */
function takes(usage: string, count: number): boolean {
  const least = usage.split('<').length - 1;
  const most = usage.includes('...') ? Number.POSITIVE_INFINITY : usage.split(/[<[]/).length - 1;
  return count >= least && count <= most;
}

/** What a command that answers from files asks of its surroundings; where it asks for more, that is an error, and it is run in full. */
function cliFor({ json }: Read, { env: variables, nodeVersion }: Process): Cli {
  const none = undefined as never;
  const own: Pick<Cli, 'world' | 'env' | 'nodeVersion' | 'packageFile' | 'program'> & { readonly screen: object } = {
    world: worldHere({
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

function printed({ json, text, status = 0 }: Result, asJson: boolean): string | undefined {
  if (status !== 0 || (asJson && json === undefined)) return undefined;
  if (asJson) return `${JSON.stringify(json, null, 2)}\n`;
  return text === '' ? '' : `${text}\n`;
}

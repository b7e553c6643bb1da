import { Command as Parser, CommanderError, Option } from 'commander';
import { SlipwayError } from '../errors.ts';
import { coerceOptionValue, type OptionSpec, type OptionValues } from '../machine/options.ts';
import { optionSpecsOf, type Command } from './command.ts';

export const globalFlags = [
  { flag: 'json', description: 'Print JSON; long work prints one event a line' },
  { flag: 'debug', description: 'Show every remote command with its time and exit status' },
  { flag: 'quiet', description: 'Show no progress' },
] as const;

export type ParsedFlags = {
  readonly positionals: readonly string[];
  /** By flag name without dashes; only what was typed. */
  readonly flags: OptionValues;
};

/** One command's argv -> words and flags, by commander. Throws USAGE for what it does not know, with its suggestion. */
export function parseFlags(command: Command, argv: readonly string[]): ParsedFlags {
  const parser = createParser(command);
  try {
    parser.parse(argv, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) throw usageError(command.name, error);
    throw error;
  }
  const typed = Object.entries(parser.opts<Record<string, unknown>>()).filter(
    ([, value]) => value !== null && value !== undefined,
  );
  return { positionals: parser.args, flags: Object.fromEntries(typed) };
}

function createParser(command: Command): Parser {
  const parser = new Parser(command.name)
    .exitOverride()
    .helpOption(false)
    .configureOutput({ writeErr: () => {} });
  if (command.usage !== '') parser.arguments(command.usage);
  if (command.passThrough) parser.passThroughOptions();
  const infos = [...optionSpecsOf(command), ...(command.extraOptions ?? [])];
  // `ls --quiet` means something of its own.
  for (const { flag } of globalFlags)
    if (!infos.some((info) => info.flag === flag)) parser.addOption(setAttributeName(new Option(`--${flag}`), flag));
  for (const info of infos) {
    if (info.secret) continue;
    for (const flag of [info.flag, ...info.aliases])
      for (const option of toCommanderOptions(info, flag)) parser.addOption(option);
  }
  return parser;
}

/** commander's options for one name of one declaration; all its names fill the same place. */
function toCommanderOptions(info: OptionSpec, flag: string): readonly Option[] {
  const short = info.short !== undefined && flag === info.flag ? `-${info.short}, ` : '';
  if (info.kind === 'boolean' && flag.startsWith('no-'))
    return [setAttributeName(new Option(`${short}--${flag}`).preset(true), info.flag)];
  if (info.kind === 'boolean') {
    return [
      setAttributeName(new Option(`${short}--${flag}`), info.flag),
      setAttributeName(new Option(`--no-${flag}`).preset(false), info.flag),
    ];
  }
  const option = setAttributeName(new Option(`${short}--${flag} <${info.valueName}>`), info.flag);
  if (info.kind === 'list')
    // An empty value empties a list that a machine was made with.
    option.argParser((text: string, before: readonly string[] | undefined) => [
      ...(before ?? []),
      ...(text === '' ? [] : [text]),
    ]);
  else option.argParser((text: string) => coerceOptionValue(info, text));
  return [option];
}

/** commander keeps values by a camel-cased name of its own making; ours are kept by the flag's. */
function setAttributeName(option: Option, flag: string): Option {
  option.attributeName = () => flag;
  // commander gives a lone --no-x the default true; null marks what was not typed.
  if (option.negate) option.default(null);
  return option;
}

function usageError(command: string, error: CommanderError): SlipwayError {
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const sentence = first.charAt(0).toUpperCase() + first.slice(1);
  const suggestion = /\(Did you mean (.+)\?\)/.exec(rest.join(' '))?.[1];
  return new SlipwayError('USAGE', sentence, {
    hint:
      suggestion === undefined
        ? `See: slipway ${command} --help`
        : `Did you mean ${suggestion}? See: slipway ${command} --help`,
    cause: error,
  });
}

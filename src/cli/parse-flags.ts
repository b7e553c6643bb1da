import { Command as Parser, CommanderError, Option } from 'commander';
import { SlipwayError } from '../errors.ts';
import { coerceOptionValue, type OptionSpec, type OptionValues } from '../machine/options.ts';
import { optionSpecsOf, type Command } from './command.ts';

export const globalFlags = [
  { flag: 'json', description: 'Print JSON; commands with steps print one event per line' },
  { flag: 'debug', description: 'Show every remote command with its time and exit status' },
  { flag: 'quiet', description: 'Show no progress' },
] as const;

export type ParsedFlags = {
  readonly positionals: readonly string[];
  /** Values by flag name without dashes, of the flags that the user typed. */
  readonly flags: OptionValues;
};

/** Parses the arguments of one command with commander. Throws USAGE with a suggestion for an unknown option. */
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
  const specs = [...optionSpecsOf(command), ...(command.extraOptions ?? [])];
  // A command's own option hides the global one: `ls --quiet` has its own meaning.
  for (const { flag } of globalFlags)
    if (!specs.some((spec) => spec.flag === flag)) parser.addOption(setAttributeName(new Option(`--${flag}`), flag));
  for (const spec of specs) {
    if (spec.secret) continue;
    for (const flag of [spec.flag, ...spec.aliases])
      for (const option of toCommanderOptions(spec, flag)) parser.addOption(option);
  }
  return parser;
}

/** Returns commander's options for one name of an option; all its names set the same value. */
function toCommanderOptions(spec: OptionSpec, flag: string): readonly Option[] {
  const short = spec.short !== undefined && flag === spec.flag ? `-${spec.short}, ` : '';
  if (spec.kind === 'boolean' && flag.startsWith('no-'))
    return [setAttributeName(new Option(`${short}--${flag}`).preset(true), spec.flag)];
  if (spec.kind === 'boolean') {
    return [
      setAttributeName(new Option(`${short}--${flag}`), spec.flag),
      setAttributeName(new Option(`--no-${flag}`).preset(false), spec.flag),
    ];
  }
  const option = setAttributeName(new Option(`${short}--${flag} <${spec.valueName}>`), spec.flag);
  if (spec.kind === 'list')
    // An empty value clears the list that a machine has.
    option.argParser((text: string, before: readonly string[] | undefined) => [
      ...(before ?? []),
      ...(text === '' ? [] : [text]),
    ]);
  else option.argParser((text: string) => coerceOptionValue(spec, text));
  return [option];
}

/** Makes commander store the value by the name of the flag, instead of a camel-cased name. */
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

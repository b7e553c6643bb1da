import { drivers } from '../drivers/registry.ts';
import { completionDrivers, imageNames, toOneLine, valueKindOf } from '../completion/option-values.ts';
import { describeOptions, type OptionSpec } from '../machine/options.ts';
import { optionSpecsOf, type Command } from './command.ts';
import { commands, allCommands } from './commands/command-list.ts';
import { completionShells } from './commands/completion.ts';
import type { CompletionSpec, CompletionCommand, CompletionOption, ValueKind } from '../completion/complete.ts';
import { globalFlags } from './parse-flags.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';

const HELP: CompletionOption = { names: ['--help', '-h'], about: 'Show help' };

/** Generates the completion spec of `slipway` from the declarations of its commands and options. */
export async function generateCompletionSpec(): Promise<CompletionSpec> {
  const loaded = await Promise.all(allCommands.map(async ({ load }) => load()));
  return {
    commands: [
      ...loaded.map(toCompletionCommand),
      { name: 'help', about: 'Show help for a command, a driver or a topic', operands: [], options: [] },
    ],
    families: commands.flatMap((entry) =>
      'members' in entry ? [{ name: entry.name, about: toOneLine(entry.summary) }] : [],
    ),
    globals: [...globalOptions(), HELP, { names: ['--version', '-V'], about: 'Print the version' }],
    drivers: completionDrivers(),
    topics: [
      ...completionDrivers().map(({ name, about }) => ({ name, about })),
      { name: 'engine', about: 'Engine options' },
      { name: 'life', about: 'Lifetime options: when a machine stops by itself' },
    ],
    images: imageNames,
  };
}

function toCompletionCommand(command: Command): CompletionCommand {
  const { name, summary, usage, passThrough, extraOptions = [] } = command;
  const ownOptions = optionSpecsOf(command);
  const labels = [...usage.matchAll(/[<[]([^\]>]+)[\]>]/g)].map(([, label = '']) => label);
  const ownFlags = [...ownOptions, ...extraOptions].map(({ flag }) => flag);
  return {
    name,
    about: toOneLine(allCommands.find((entry) => entry.name === name)?.summary ?? summary),
    operands: labels.map((label) => operandKindOf(name, label.replace(/\.{3}$/, ''))),
    ...(labels.at(-1)?.endsWith('...') === true ? { many: true } : {}),
    options: [
      ...[...ownOptions, ...extraOptions].flatMap(toCompletionOptions),
      ...globalOptions().filter(({ names }) => !ownFlags.some((flag) => names.includes(`--${flag}`))),
      HELP,
    ],
    ...(passThrough === true ? { raw: true } : {}),
  };
}

function globalOptions(): readonly CompletionOption[] {
  return globalFlags.map(({ flag, description }) => ({ names: [`--${flag}`], about: description }));
}

/** The kind of value that completion offers for an operand, by the operand's name in the usage line. */
const OPERAND_KINDS: Readonly<Record<string, ValueKind>> = {
  name: 'machine',
  names: 'machine',
  from: 'place',
  to: 'place',
  'name:path': 'remote',
  mountpoint: 'folder',
  file: 'file',
  folder: 'folder',
  shell: completionShells,
};

function operandKindOf(command: string, label: string): ValueKind {
  // A new machine can't have the name of an existing one.
  if (command === 'create') return 'any';
  if (command === 'image rm') return 'kept-image';
  if (command.startsWith('image ')) return imageNames;
  return OPERAND_KINDS[label] ?? 'any';
}

/** Returns an option under all its names, as completion offers it; nothing for a secret, which has no flag. */
function toCompletionOptions(spec: OptionSpec): readonly CompletionOption[] {
  if (spec.secret) return [];
  const driver = driverByFlag.get(spec.flag);
  const option = {
    about: toOneLine(spec.description),
    ...(spec.kind === 'list' ? { many: true as const } : {}),
    ...(driver === undefined ? {} : { driver }),
  };
  const short = spec.short === undefined ? [] : [`-${spec.short}`];
  const names = [spec.flag, ...spec.aliases].map((flag) => `--${flag}`);
  if (spec.kind !== 'boolean') return [{ ...option, names: [...names, ...short], takes: valueKindOf(spec) }];
  if (spec.flag.startsWith('no-')) return [{ ...option, names: [...names, ...short] }];
  const opposites = names.map((name) => name.replace('--', '--no-'));
  return [{ ...option, names: spec.default === true ? [...opposites, ...names] : [...names, ...short, ...opposites] }];
}

/** The driver to which a flag belongs. */
const driverByFlag: ReadonlyMap<string, string> = new Map(
  drivers.flatMap(({ name, account }) =>
    [
      ...(driverOptionSpecs[name] ?? []),
      ...(account?.credentials ? describeOptions(account.credentials, name) : []),
    ].map(({ flag }) => [flag, name] as const),
  ),
);

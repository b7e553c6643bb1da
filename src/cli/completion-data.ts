import { drivers } from '../drivers/registry.ts';
import { knownImages } from '../images/catalog.ts';
import { describeOptions, type OptionSpec } from '../machine/options.ts';
import { optionSpecsOf, type Command } from './command.ts';
import { commands, allCommands } from './commands/command-list.ts';
import { completionShells } from './commands/completion.ts';
import type { CompletionSpec, CompletionCommand, CompletionOption, ValueKind } from '../completion/complete.ts';
import { globalFlags } from './parse-flags.ts';
import { driverOptionSpecs } from './spec-from-flags.ts';

const HELP: CompletionOption = { names: ['--help', '-h'], about: 'Explain' };

/** What completion knows of `slipway`, from the declarations that the program itself reads. */
export async function generateCompletionSpec(): Promise<CompletionSpec> {
  const loaded = await Promise.all(allCommands.map(async ({ load }) => load()));
  return {
    commands: [
      ...loaded.map(toCompletionCommand),
      { name: 'help', about: 'Explain a command, a driver, the engine or life', operands: [], options: [] },
    ],
    families: commands.flatMap((entry) =>
      'members' in entry ? [{ name: entry.name, about: toOneLine(entry.summary) }] : [],
    ),
    globals: [...globalOptions(), HELP, { names: ['--version', '-V'], about: 'Print the version' }],
    drivers: completionDrivers(),
    topics: [
      ...completionDrivers().map(({ name, about }) => ({ name, about })),
      { name: 'engine', about: 'Options of the engine' },
      { name: 'life', about: 'When a machine ends by itself' },
    ],
    images: imageNames,
  };
}

export const imageNames: readonly string[] = knownImages.map(({ name }) => name);

export function completionDrivers(): CompletionSpec['drivers'] {
  return drivers.map(({ name, summary, aliases = [] }) => ({ name, about: toOneLine(summary), also: aliases }));
}

function toCompletionCommand(command: Command): CompletionCommand {
  const { name, summary, usage, passThrough, extraOptions = [] } = command;
  const own = optionSpecsOf(command);
  const labels = [...usage.matchAll(/[<[]([^\]>]+)[\]>]/g)].map(([, label = '']) => label);
  const taken = [...own, ...extraOptions].map(({ flag }) => flag);
  return {
    name,
    about: toOneLine(allCommands.find((entry) => entry.name === name)?.summary ?? summary),
    operands: labels.map((label) => operandKindOf(name, label.replace(/\.{3}$/, ''))),
    ...(labels.at(-1)?.endsWith('...') === true ? { many: true } : {}),
    options: [
      ...[...own, ...extraOptions].flatMap(toCompletionOptions),
      ...globalOptions().filter(({ names }) => !taken.some((flag) => names.includes(`--${flag}`))),
      HELP,
    ],
    ...(passThrough === true ? { raw: true } : {}),
  };
}

function globalOptions(): readonly CompletionOption[] {
  return globalFlags.map(({ flag, description }) => ({ names: [`--${flag}`], about: description }));
}

/** By what the usage line calls it. */
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
  // A name that is there can't be given to another machine.
  if (command === 'create') return 'any';
  if (command === 'image rm') return 'kept-image';
  if (command.startsWith('image ')) return imageNames;
  return OPERAND_KINDS[label] ?? 'any';
}

/** One option under all its names, as completion offers it; none for a secret, which has no flag. */
function toCompletionOptions(info: OptionSpec): readonly CompletionOption[] {
  if (info.secret) return [];
  const driver = driverByFlag.get(info.flag);
  const option = {
    about: toOneLine(info.description),
    ...(info.kind === 'list' ? { many: true as const } : {}),
    ...(driver === undefined ? {} : { driver }),
  };
  const short = info.short === undefined ? [] : [`-${info.short}`];
  const names = [info.flag, ...info.aliases].map((flag) => `--${flag}`);
  if (info.kind !== 'boolean') return [{ ...option, names: [...names, ...short], takes: valueKindOf(info) }];
  if (info.flag.startsWith('no-')) return [{ ...option, names: [...names, ...short] }];
  const opposites = names.map((name) => name.replace('--', '--no-'));
  return [{ ...option, names: info.default === true ? [...opposites, ...names] : [...names, ...short, ...opposites] }];
}

/** What its value is. */
export function valueKindOf({ flag, valueName, choices }: OptionSpec): ValueKind {
  if (choices.length > 0) return choices;
  if (flag === 'driver' || flag === 'image') return flag;
  return valueName === 'file' || valueName === 'folder' ? valueName : 'any';
}

/** Which driver a flag speaks of. */
const driverByFlag: ReadonlyMap<string, string> = new Map(
  drivers.flatMap(({ name, account }) =>
    [
      ...(driverOptionSpecs[name] ?? []),
      ...(account?.credentials ? describeOptions(account.credentials, name) : []),
    ].map(({ flag }) => [flag, name] as const),
  ),
);

/** One line, without what a terminal would obey. */
function toOneLine(text: string): string {
  return text.replaceAll(/[\p{C}\s]+/gu, ' ').trim();
}

import { drivers } from '../drivers/registry.ts';
import { knownImages } from '../images/catalog.ts';
import { describe, type OptionInfo } from '../machine/options.ts';
import { infosOf, type Command } from './command.ts';
import { commands, everyCommand } from './commands/all.ts';
import { completionShells } from './commands/completion.ts';
import type { Declared, DeclaredCommand, DeclaredOption, Takes } from '../completion/complete.ts';
import { globalFlags } from './flags.ts';
import { driverInfos } from './spec.ts';

const HELP: DeclaredOption = { names: ['--help', '-h'], about: 'Explain' };

/** What completion knows of `slipway`, from the declarations that the program itself reads. */
export async function declared(): Promise<Declared> {
  const loaded = await Promise.all(everyCommand.map(async ({ load }) => load()));
  return {
    commands: [
      ...loaded.map(commandOf),
      { name: 'help', about: 'Explain a command, a driver, the engine or life', operands: [], options: [] },
    ],
    families: commands.flatMap((entry) =>
      'members' in entry ? [{ name: entry.name, about: said(entry.summary) }] : [],
    ),
    globals: [...globalOptions(), HELP, { names: ['--version', '-V'], about: 'Print the version' }],
    drivers: declaredDrivers(),
    topics: [
      ...declaredDrivers().map(({ name, about }) => ({ name, about })),
      { name: 'engine', about: 'Options of the engine' },
      { name: 'life', about: 'When a machine ends by itself' },
    ],
    images: imageNames,
  };
}

export const imageNames: readonly string[] = knownImages.map(({ name }) => name);

export function declaredDrivers(): Declared['drivers'] {
  return drivers.map(({ name, summary, also = [] }) => ({ name, about: said(summary), also }));
}

function commandOf(command: Command): DeclaredCommand {
  const { name, summary, words, passThrough, more = [] } = command;
  const own = infosOf(command);
  const labels = [...words.matchAll(/[<[]([^\]>]+)[\]>]/g)].map(([, label = '']) => label);
  const taken = [...own, ...more].map(({ flag }) => flag);
  return {
    name,
    about: said(everyCommand.find((entry) => entry.name === name)?.summary ?? summary),
    operands: labels.map((label) => operandOf(name, label.replace(/\.{3}$/, ''))),
    ...(labels.at(-1)?.endsWith('...') === true ? { many: true } : {}),
    options: [
      ...[...own, ...more].flatMap(optionOf),
      ...globalOptions().filter(({ names }) => !taken.some((flag) => names.includes(`--${flag}`))),
      HELP,
    ],
    ...(passThrough === true ? { raw: true } : {}),
  };
}

function globalOptions(): readonly DeclaredOption[] {
  return globalFlags.map(({ flag, description }) => ({ names: [`--${flag}`], about: description }));
}

/** By what the usage line calls it. */
const OPERANDS: Readonly<Record<string, Takes>> = {
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

function operandOf(command: string, label: string): Takes {
  // A name that is there can't be given to another machine.
  if (command === 'create') return 'any';
  if (command === 'image rm') return 'kept-image';
  if (command.startsWith('image ')) return imageNames;
  return OPERANDS[label] ?? 'any';
}

/** One option under all its names, as completion offers it; none for a secret, which has no flag. */
function optionOf(info: OptionInfo): readonly DeclaredOption[] {
  if (info.secret) return [];
  const driver = driverOf.get(info.flag);
  const option = {
    about: said(info.description),
    ...(info.kind === 'list' ? { many: true as const } : {}),
    ...(driver === undefined ? {} : { driver }),
  };
  const short = info.short === undefined ? [] : [`-${info.short}`];
  const names = [info.flag, ...info.also].map((flag) => `--${flag}`);
  if (info.kind !== 'boolean') return [{ ...option, names: [...names, ...short], takes: takenBy(info) }];
  if (info.flag.startsWith('no-')) return [{ ...option, names: [...names, ...short] }];
  const opposites = names.map((name) => name.replace('--', '--no-'));
  return [{ ...option, names: info.default === true ? [...opposites, ...names] : [...names, ...short, ...opposites] }];
}

/** What its value is. */
export function takenBy({ flag, value, choices }: OptionInfo): Takes {
  if (choices.length > 0) return choices;
  if (flag === 'driver' || flag === 'image') return flag;
  return value === 'file' || value === 'folder' ? value : 'any';
}

/** Which driver a flag speaks of. */
const driverOf: ReadonlyMap<string, string> = new Map(
  drivers.flatMap(({ name, credentials }) =>
    [...(driverInfos[name] ?? []), ...(credentials ? describe(credentials, name) : [])].map(
      ({ flag }) => [flag, name] as const,
    ),
  ),
);

/** One line, without what a terminal would obey. */
function said(text: string): string {
  return text.replaceAll(/[\p{C}\s]+/gu, ' ').trim();
}

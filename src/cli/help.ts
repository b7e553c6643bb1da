import { drivers } from '../drivers/registry.ts';
import type { OptionSpec } from '../machine/options.ts';
import { engineOptionSpecs, lifetimeOptionSpecs } from '../machine/spec.ts';
import { optionSpecsOf, type Command } from './command.ts';
import { commands, type CommandFamily, type CommandGroup } from './commands/command-list.ts';
import { globalFlags } from './parse-flags.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';

/** What `slipway` without arguments prints where nobody can be asked. */
export function programHelp(): string {
  const groups: readonly CommandGroup[] = ['Make', 'Run', 'Look', 'Connect', 'Help'];
  const column = Math.max(...commands.map(({ name }) => name.length)) + 1;
  const sections = groups.map((group) => {
    return commands
      .filter((entry) => entry.group === group)
      .map(({ name, summary }, index) => `  ${(index === 0 ? group : '').padEnd(9)}${name.padEnd(column)}${summary}`)
      .join('\n');
  });
  return [
    'slipway: a Docker host anywhere in one command',
    '',
    'Usage: slipway <command> [options]',
    '       slipway      on a terminal: asks what you want',
    ...sections,
    '  Everywhere: --json --debug --quiet --help',
    '  More: slipway help <command | driver | engine | life>',
  ].join('\n');
}

/** The commands that share a first word. */
export function familyHelp({ name, summary, members }: CommandFamily): string {
  const width = Math.max(...members.map((member) => member.name.length)) + 3;
  return [
    summary,
    '',
    `Usage: slipway ${name} <command> [options]`,
    ...members.map((member) => `  ${member.name.padEnd(width)}${member.summary}`),
    '',
    `More: slipway help ${members[0]?.name}`,
  ].join('\n');
}

/** One command; options of drivers and engine are named where they apply, and explained by their own topics. */
export function commandHelp(command: Command, driver: string | undefined, width: number): string {
  const parts = [
    ...wrapWords(command.summary.split(' '), '', width),
    '',
    `Usage: slipway ${command.name}${command.usage === '' ? '' : ` ${command.usage}`} [options]`,
  ];
  if (command.details !== undefined) parts.push(...wrapWords(command.details.split(' '), '', width));
  const own = optionSpecsOf(command);
  if (own.length > 0) parts.push('', 'Options', ...optionLines(own, width));
  if (command.extraOptions) {
    const chosen = driver === undefined ? undefined : driverOptionSpecs[driver];
    if (chosen) parts.push('', `Driver ${driver}`, ...optionLines(chosen, width));
    else parts.push('', `Options of a driver: slipway help ${drivers.map(({ name }) => name).join(' | ')}`);
    parts.push(
      `Its life: ${lifetimeOptionSpecs.map(({ flag, valueName }) => `--${flag} <${valueName}>`).join(', ')} (slipway help life)`,
      'Options of the engine: slipway help engine',
      ...wrapWords(
        engineOptionSpecs.map(({ flag }) => `--${flag}`),
        '  ',
        width,
      ),
    );
  }
  parts.push('', `Everywhere: ${globalFlags.map(({ flag }) => `--${flag}`).join(' ')}`);
  return parts.join('\n');
}

/** A driver's name, `engine` or `life`: its options in full. */
export function topicHelp(topic: string, width: number): string | undefined {
  if (topic === 'engine')
    return ['Options of the engine, for create and provision', '', ...optionLines(engineOptionSpecs, width)].join('\n');
  if (topic === 'life') {
    const note =
      'The host does it itself, so it holds with this computer off. A running container, somebody logged in over SSH and a client of the engine keep a host from being idle. Later on: slipway extend, slipway provision NAME --idle-stop 1h.';
    const lines = [...optionLines(lifetimeOptionSpecs, width), '', ...wrapWords(note.split(' '), '', width)];
    return ['When a machine ends by itself, for create and provision', '', ...lines].join('\n');
  }
  const driver = drivers.find(({ name, aliases }) => name === topic || aliases?.includes(topic) === true);
  if (!driver) return undefined;
  return [
    `Driver ${driver.name}: ${driver.summary}`,
    '',
    ...optionLines(driverOptionSpecs[driver.name] ?? [], width),
  ].join('\n');
}

function optionLines(infos: readonly OptionSpec[], width: number): readonly string[] {
  const left = infos.map(flagColumn);
  const column = Math.min(36, Math.max(...left.map((text) => text.length)) + 2);
  return infos.flatMap((info, index) => {
    const [first = '', ...rest] = wrapWords(descriptionColumn(info).split(' '), '', Math.max(30, width - column - 2));
    const flag = left[index] ?? '';
    const head =
      flag.length > column - 2
        ? [`  ${flag}`, `  ${' '.repeat(column)}${first}`]
        : [`  ${flag.padEnd(column)}${first}`];
    return [...head, ...rest.map((line) => `  ${' '.repeat(column)}${line}`)];
  });
}

function flagColumn(info: OptionSpec): string {
  if (info.secret) return `$${info.env}`;
  const short = info.short === undefined ? '' : `-${info.short}, `;
  const value = info.kind === 'boolean' ? '' : ` <${info.valueName}>`;
  return `${short}--${info.flag}${value}${info.kind === 'list' ? ' …' : ''}`;
}

function descriptionColumn(info: OptionSpec): string {
  const choices = info.choices.length > 0 ? `: ${info.choices.join(', ')}` : '';
  const plain = info.default === undefined || info.default === false || Array.isArray(info.default);
  const initial = info.required ? ' (required)' : plain ? '' : ` (${String(info.default)})`;
  return `${info.description}${choices}${initial}`;
}

function wrapWords(words: readonly string[], indent: string, width: number): readonly string[] {
  const lines: string[] = [];
  for (const word of words) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(`${indent}${word}`);
  }
  return lines;
}

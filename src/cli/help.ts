import { drivers } from '../drivers/registry.ts';
import type { OptionSpec } from '../machine/options.ts';
import { engineOptionSpecs, lifetimeOptionSpecs, sharingOptionSpecs } from '../machine/spec.ts';
import { optionSpecsOf, type Command } from './command.ts';
import { commands, type CommandFamily, type CommandGroup } from './commands/command-list.ts';
import { globalFlags } from './parse-flags.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';

/** Returns the help of the program, which `slipway` without arguments prints outside of a terminal. */
export function programHelp(): string {
  const groups: readonly CommandGroup[] = ['Manage', 'Run', 'Inspect', 'Connect', 'Help'];
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
    '       slipway      (at a terminal: asks what you want)',
    ...sections,
    '  Global options: --json --debug --quiet --help',
    '  Details: slipway help <command | driver | engine | life>',
  ].join('\n');
}

/** Returns the help of commands that share a first word. */
export function familyHelp({ name, summary, members }: CommandFamily): string {
  const width = Math.max(...members.map((member) => member.name.length)) + 3;
  return [
    summary,
    '',
    `Usage: slipway ${name} <command> [options]`,
    ...members.map((member) => `  ${member.name.padEnd(width)}${member.summary}`),
    '',
    `Details: slipway help ${members[0]?.name}`,
  ].join('\n');
}

/**
 * Returns the help of one command. It lists the options of drivers and the engine by name; their own topics explain
 * them.
 */
export function commandHelp(command: Command, driver: string | undefined, width: number): string {
  const parts = [
    ...wrapWords(command.summary.split(' '), '', width),
    '',
    `Usage: slipway ${command.name}${command.usage === '' ? '' : ` ${command.usage}`} [options]`,
  ];
  if (command.details !== undefined) parts.push(...wrapWords(command.details.split(' '), '', width));
  const ownOptions = optionSpecsOf(command);
  if (ownOptions.length > 0) parts.push('', 'Options', ...optionLines(ownOptions, width));
  if (command.extraOptions) {
    const driverOptions = driver === undefined ? undefined : driverOptionSpecs[driver];
    if (driverOptions) parts.push('', `Driver ${driver}`, ...optionLines(driverOptions, width));
    else parts.push('', `Driver options: slipway help ${drivers.map(({ name }) => name).join(' | ')}`);
    parts.push(
      `Lifetime, ports: ${[...lifetimeOptionSpecs, ...sharingOptionSpecs].map(({ flag }) => `--${flag}`).join(', ')} (slipway help life)`,
      'Engine options: slipway help engine',
      ...wrapWords(
        engineOptionSpecs.map(({ flag }) => `--${flag}`),
        '  ',
        width,
      ),
    );
  }
  parts.push('', `Global options: ${globalFlags.map(({ flag }) => `--${flag}`).join(' ')}`);
  return parts.join('\n');
}

/** Returns the options of a driver, of `engine` or of `life`; undefined for another word. */
export function topicHelp(topic: string, width: number): string | undefined {
  if (topic === 'engine')
    return ['Engine options of create and provision', '', ...optionLines(engineOptionSpecs, width)].join('\n');
  if (topic === 'life') {
    const note =
      'The host stops itself, even while this computer is off. A running container, an SSH session and a client of the engine keep a host from being idle. To change the lifetime of a machine: slipway extend NAME 2h, slipway provision NAME --idle-stop 1h.';
    const lines = [...optionLines(lifetimeOptionSpecs, width), '', ...wrapWords(note.split(' '), '', width)];
    const ports = ['', 'Port options of create and provision', '', ...optionLines(sharingOptionSpecs, width)];
    return ['Lifetime options of create and provision', '', ...lines, ...ports].join('\n');
  }
  const driver = drivers.find(({ name, aliases }) => name === topic || aliases?.includes(topic) === true);
  if (!driver) return undefined;
  return [
    `Driver ${driver.name}: ${driver.summary}`,
    '',
    ...optionLines(driverOptionSpecs[driver.name] ?? [], width),
  ].join('\n');
}

function optionLines(specs: readonly OptionSpec[], width: number): readonly string[] {
  const flags = specs.map(flagColumn);
  const column = Math.min(36, Math.max(...flags.map((text) => text.length)) + 2);
  return specs.flatMap((spec, index) => {
    const [first = '', ...rest] = wrapWords(descriptionColumn(spec).split(' '), '', Math.max(30, width - column - 2));
    const flag = flags[index] ?? '';
    const head =
      flag.length > column - 2
        ? [`  ${flag}`, `  ${' '.repeat(column)}${first}`]
        : [`  ${flag.padEnd(column)}${first}`];
    return [...head, ...rest.map((line) => `  ${' '.repeat(column)}${line}`)];
  });
}

function flagColumn(spec: OptionSpec): string {
  if (spec.secret) return `$${spec.env}`;
  const short = spec.short === undefined ? '' : `-${spec.short}, `;
  const value = spec.kind === 'boolean' ? '' : ` <${spec.valueName}>`;
  return `${short}--${spec.flag}${value}${spec.kind === 'list' ? ' …' : ''}`;
}

function descriptionColumn(spec: OptionSpec): string {
  const choices = spec.choices.length > 0 ? `: ${spec.choices.join(', ')}` : '';
  const plain = spec.default === undefined || spec.default === false || Array.isArray(spec.default);
  const initial = spec.required ? ' (required)' : plain ? '' : ` (${String(spec.default)})`;
  return `${spec.description}${choices}${initial}`;
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

import { drivers } from '../drivers/registry.ts';
import { exitCodes } from '../errors.ts';
import { formatList, type OptionSpec } from '../machine/options.ts';
import { engineOptionSpecs, lifetimeOptionSpecs, sharingOptionSpecs } from '../machine/spec.ts';
import { optionSpecsOf, type Command } from './command.ts';
import { allCommands } from './commands/command-list.ts';
import { globalFlags } from './parse-flags.ts';
import {
  bold,
  italic,
  taggedParagraph,
  manPage,
  paragraph,
  section,
  subsection,
  codeBlock,
  toSentence,
} from '../manual/roff.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';

/** Variables that no option sets, by name. */
const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['SLIPWAY_HOME', 'Folder of machines and images. The default is `~/.slipway`.'],
  ['SLIPWAY_SUDO_PASSWORD', 'Password for sudo on a host, if sudo asks for one. There is no flag for it.'],
  ['SLIPWAY_ADDRESS_URL', "Service that returns this computer's public IP address, for the firewall of a cloud."],
  ['DOCKER_CONFIG', "Folder of the docker CLI's settings. The default is `~/.docker`."],
  [
    'DOCKER_HOST, DOCKER_CONTEXT',
    'What the docker CLI connects to in this shell. `active` reads them, and `use` warns about them.',
  ],
  ['SHELL', 'Shell for which `env` and `completion` print.'],
  ['SSH_AUTH_SOCK', 'SSH agent whose keys may log in to hosts.'],
  ['NO_COLOR', 'Disables colours.'],
  ['CI, TERM', 'If `CI` is set or `TERM` is dumb, progress is one line per event.'],
];

export const FILES: readonly (readonly [string, string])[] = [
  ['~/.slipway/machines/NAME/machine.json', 'Record of a machine, without secrets.'],
  ['~/.slipway/machines/NAME/ca/', 'Certificate authority of a machine; its key never leaves this folder.'],
  ['~/.slipway/machines/NAME/tls/', 'Client certificates for DOCKER_CERT_PATH: ca.pem, cert.pem and key.pem.'],
  ['~/.slipway/machines/NAME/known_hosts', 'Pinned SSH host key of a machine.'],
  ['~/.slipway/home-id', 'ID of this store, with which its cloud resources are tagged.'],
  ['~/.docker/contexts/', "The docker CLI's contexts, one for each machine with the profile docker-context."],
  ['machines.yaml', 'File that `plan` and `apply` read.'],
];

/** Returns the text of man/slipway.1. */
export async function generateManual(): Promise<string> {
  const loaded = await Promise.all(allCommands.map(async ({ load }) => load()));
  return manPage('slipway', 'a Docker host anywhere in one command', [
    section('Synopsis'),
    `${bold('slipway')} ${italic('command')} [${italic('options')}]`,
    '.br',
    bold('slipway'),
    section('Description'),
    paragraph(
      'Creates a virtual machine on this computer, in Amazon EC2 or in Google Compute Engine, or takes a host that you can reach by SSH. Installs Docker Engine, secures it with mutual TLS, and writes a docker context. Without a command, at a terminal, it asks what you want.',
    ),
    codeBlock(['slipway create dev', 'docker --context dev run --rm hello-world', 'slipway rm dev']),
    paragraph(
      'A flag overrides the current value of a machine, which overrides the environment, which overrides the default. An empty value returns an option to its default.',
    ),
    section('Commands'),
    ...loaded.flatMap(commandSection),
    section('Global options'),
    ...globalFlags.map(({ flag, description }) => taggedParagraph(bold(`--${flag}`), toSentence(description))),
    taggedParagraph(
      `${bold('-h')}, ${bold('--help')}`,
      'Show help. `slipway help` also takes a command, a driver, `engine` or `life`.',
    ),
    taggedParagraph(`${bold('-V')}, ${bold('--version')}`, 'Print the version.'),
    section('Lifetime options'),
    paragraph('For `create` and `provision`.'),
    ...lifetimeOptionSpecs.map(optionItem),
    section('Sharing options'),
    paragraph('For `create` and `provision`.'),
    ...sharingOptionSpecs.map(optionItem),
    section('Engine options'),
    paragraph('For `create` and `provision`.'),
    ...engineOptionSpecs.map(optionItem),
    section('Drivers'),
    ...drivers.flatMap(({ name, summary }) => [
      subsection(`${name}: ${summary}`),
      ...(driverOptionSpecs[name] ?? []).map(optionItem),
    ]),
    section('Environment'),
    paragraph('In addition to the variables in brackets after the options:'),
    ...ENVIRONMENT.map(([name, text]) => taggedParagraph(bold(name), text)),
    section('Files'),
    ...FILES.map(([path, text]) => taggedParagraph(italic(path), text)),
    section('Exit status'),
    ...exitStatusItems(),
    section('See also'),
    `${bold('docker-machine')}(1), ${bold('docker')}(1), ${bold('ssh')}(1)`,
  ]);
}

function commandSection(command: Command): readonly string[] {
  const { name, usage, summary, details } = command;
  return [
    subsection(`slipway ${name}${usage === '' ? '' : ` ${usage}`}`),
    paragraph(toSentence(summary)),
    ...(details === undefined ? [] : [paragraph(toSentence(details))]),
    ...optionSpecsOf(command).map(optionItem),
  ];
}

function optionItem(spec: OptionSpec): string {
  const { aliases, description, env, flag, kind, secret, short, valueName } = spec;
  const names = [...(short === undefined ? [] : [`-${short}`]), `--${flag}`];
  const many = kind === 'list' ? ' …' : '';
  const term = secret
    ? bold(env ?? flag)
    : `${names.map(bold).join(', ')}${kind === 'boolean' ? '' : ` ${italic(valueName + many)}`}`;
  const others = aliases.length > 0 ? ` Also ${formatList(aliases.map((name) => `\`--${name}\``))}.` : '';
  const variable = env === undefined || secret ? '' : ` [${env}]`;
  return taggedParagraph(
    term,
    `${toSentence(`${description}${formatChoices(spec)}`)}${formatDefault(spec)}${others}${variable}`,
  );
}

function formatChoices({ choices }: OptionSpec): string {
  return choices.length === 0 ? '' : `: ${formatList(choices, 'or')}`;
}

function formatDefault({ default: value, required }: OptionSpec): string {
  if (required) return ' Required.';
  const none = value === undefined || value === false || (Array.isArray(value) && value.length === 0);
  return none ? '' : ` Default: ${String(value)}.`;
}

function exitStatusItems(): readonly string[] {
  const statuses = [...new Set(Object.values(exitCodes))].toSorted((left, right) => left - right);
  return [
    taggedParagraph(bold('0'), 'Success.'),
    taggedParagraph(
      bold('1'),
      'A bug in Slipway. From `status`: the engine does not answer. From `doctor`: something is missing. From `plan --exit-code`: there are changes to apply.',
    ),
    ...statuses.map((status) =>
      taggedParagraph(
        bold(String(status)),
        `${Object.entries(exitCodes)
          .filter(([, value]) => value === status)
          .map(([code]) => code)
          .join(', ')}.`,
      ),
    ),
    paragraph('`ssh`, `scp` and `mount` exit with the exit status of the program that they run.'),
  ];
}

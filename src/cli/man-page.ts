import { drivers } from '../drivers/registry.ts';
import { exitCodes } from '../errors.ts';
import { formatList, type OptionSpec } from '../machine/options.ts';
import { engineOptionSpecs, lifetimeOptionSpecs } from '../machine/spec.ts';
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

/** What decides besides options, by name. */
const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['SLIPWAY_HOME', 'Where machines and images are kept, instead of `~/.slipway`.'],
  ['SLIPWAY_SUDO_PASSWORD', 'Password for sudo on a host, where it asks for one. There is no flag for it.'],
  [
    'SLIPWAY_ADDRESS_URL',
    "What is asked for the address that this computer calls from, when a cloud's firewall is set.",
  ],
  ['DOCKER_CONFIG', 'Where the docker CLI keeps its settings, instead of `~/.docker`.'],
  ['DOCKER_HOST, DOCKER_CONTEXT', 'What the docker CLI talks to in this shell: read by `active`, warned of by `use`.'],
  ['SHELL', 'The shell that `env` and `completion` write for.'],
  ['SSH_AUTH_SOCK', 'The SSH agent whose keys may log in to hosts.'],
  ['NO_COLOR', 'No colours.'],
  ['CI, TERM', 'With `CI` set or `TERM=dumb`, progress is one line an event.'],
];

export const FILES: readonly (readonly [string, string])[] = [
  ['~/.slipway/machines/NAME/machine.json', 'The record of a machine; it holds no secret.'],
  ['~/.slipway/machines/NAME/ca/', 'Its certificate authority, whose key never leaves this folder.'],
  ['~/.slipway/machines/NAME/tls/', 'What DOCKER_CERT_PATH wants: ca.pem, cert.pem and key.pem.'],
  ['~/.slipway/machines/NAME/known_hosts', 'Its pinned SSH host key.'],
  ['~/.slipway/home-id', 'The mark of this store on what it has made in clouds.'],
  ['~/.docker/contexts/', "The docker CLI's contexts, one for each machine that has the profile docker-context."],
  ['machines.yaml', 'What `plan` and `apply` read.'],
];

/** man/slipway.1, whole. */
export async function generateManual(): Promise<string> {
  const loaded = await Promise.all(allCommands.map(async ({ load }) => load()));
  return manPage('slipway', 'a Docker host anywhere in one command', [
    section('Synopsis'),
    `${bold('slipway')} ${italic('command')} [${italic('options')}]`,
    '.br',
    bold('slipway'),
    section('Description'),
    paragraph(
      'Makes a virtual machine on this computer, in Amazon EC2 or in Google Compute Engine, or takes a machine that answers SSH, gives it Docker Engine secured with mutual TLS, and writes a docker context for it. Without a command, at a terminal, it asks what you want.',
    ),
    codeBlock(['slipway create dev', 'docker --context dev run --rm hello-world', 'slipway rm dev']),
    paragraph(
      'A flag stands above what the machine was made with before, that above the environment, that above the default. An empty value takes back what a machine was made with.',
    ),
    section('Commands'),
    ...loaded.flatMap(commandSection),
    section('Options everywhere'),
    ...globalFlags.map(({ flag, description }) => taggedParagraph(bold(`--${flag}`), toSentence(description))),
    taggedParagraph(
      `${bold('-h')}, ${bold('--help')}`,
      'Explain. Also: `slipway help COMMAND`, a driver, `engine` or `life`.',
    ),
    taggedParagraph(`${bold('-V')}, ${bold('--version')}`, 'Print the version.'),
    section('The life of a machine'),
    paragraph('Of `create` and `provision`.'),
    ...lifetimeOptionSpecs.map(optionItem),
    section('The engine'),
    paragraph('Of `create` and `provision`.'),
    ...engineOptionSpecs.map(optionItem),
    section('Drivers'),
    ...drivers.flatMap(({ name, summary }) => [
      subsection(`${name}: ${summary}`),
      ...(driverOptionSpecs[name] ?? []).map(optionItem),
    ]),
    section('Environment'),
    paragraph('Besides the variables that stand in brackets behind the options:'),
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

function optionItem(info: OptionSpec): string {
  const { aliases, description, env, flag, kind, secret, short, valueName } = info;
  const names = [...(short === undefined ? [] : [`-${short}`]), `--${flag}`];
  const many = kind === 'list' ? ' …' : '';
  const term = secret
    ? bold(env ?? flag)
    : `${names.map(bold).join(', ')}${kind === 'boolean' ? '' : ` ${italic(valueName + many)}`}`;
  const others = aliases.length > 0 ? ` Also ${formatList(aliases.map((name) => `\`--${name}\``))}.` : '';
  const variable = env === undefined || secret ? '' : ` [${env}]`;
  return taggedParagraph(
    term,
    `${toSentence(`${description}${formatChoices(info)}`)}${formatDefault(info)}${others}${variable}`,
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
    taggedParagraph(bold('0'), 'Done.'),
    taggedParagraph(
      bold('1'),
      'A bug in Slipway; of `status`: the engine does not answer; of `doctor`: something is missing; of `plan --exit-code`: something is to be done.',
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
    paragraph('`ssh`, `scp` and `mount` pass on the exit status of what they run.'),
  ];
}

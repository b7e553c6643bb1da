import { drivers } from '../drivers/registry.ts';
import { exitCodes } from '../errors.ts';
import { listed, type OptionInfo } from '../machine/options.ts';
import { engineInfos, lifeInfos } from '../machine/spec.ts';
import { infosOf, type Command } from './command.ts';
import { everyCommand } from './commands/all.ts';
import { globalFlags } from './flags.ts';
import { bold, italic, item, page, paragraph, section, subsection, typed } from '../terminal/roff.ts';
import { driverInfos } from './spec.ts';

/** What decides besides options, by name. */
const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['SLIPWAY_HOME', 'Where machines and images are kept, instead of `~/.slipway`.'],
  ['SLIPWAY_SUDO_PASSWORD', 'Password for sudo on a host, where it asks for one. There is no flag for it.'],
  [
    'SLIPWAY_ADDRESS_URL',
    'What is asked for the address that this computer calls from, when a cloud’s firewall is set.',
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
  ['~/.docker/contexts/', 'The docker CLI’s contexts, one for each machine that has the profile docker-context.'],
  ['machines.yaml', 'What `plan` and `apply` read.'],
];

/** man/slipway.1, whole. */
export async function manual(): Promise<string> {
  const loaded = await Promise.all(everyCommand.map(async ({ load }) => load()));
  return page('slipway', 'a Docker host anywhere in one command', [
    section('Synopsis'),
    `${bold('slipway')} ${italic('command')} [${italic('options')}]`,
    '.br',
    bold('slipway'),
    section('Description'),
    paragraph(
      'Makes a virtual machine on this computer, in Amazon EC2 or in Google Compute Engine, or takes a machine that answers SSH, gives it Docker Engine secured with mutual TLS, and writes a docker context for it. Without a command, at a terminal, it asks what you want.',
    ),
    typed(['slipway create dev', 'docker --context dev run --rm hello-world', 'slipway rm dev']),
    paragraph(
      'A flag stands above what the machine was made with before, that above the environment, that above the default. An empty value takes back what a machine was made with.',
    ),
    section('Commands'),
    ...loaded.flatMap(commandPart),
    section('Options everywhere'),
    ...globalFlags.map(({ flag, description }) => item(bold(`--${flag}`), sentence(description))),
    item(`${bold('-h')}, ${bold('--help')}`, 'Explain. Also: `slipway help COMMAND`, a driver, `engine` or `life`.'),
    item(`${bold('-V')}, ${bold('--version')}`, 'Print the version.'),
    section('The life of a machine'),
    paragraph('Of `create` and `provision`.'),
    ...lifeInfos.map(optionItem),
    section('The engine'),
    paragraph('Of `create` and `provision`.'),
    ...engineInfos.map(optionItem),
    section('Drivers'),
    ...drivers.flatMap(({ name, summary }) => [
      subsection(`${name}: ${summary}`),
      ...(driverInfos[name] ?? []).map(optionItem),
    ]),
    section('Environment'),
    paragraph('Besides the variables that stand in brackets behind the options:'),
    ...ENVIRONMENT.map(([name, text]) => item(bold(name), text)),
    section('Files'),
    ...FILES.map(([path, text]) => item(italic(path), text)),
    section('Exit status'),
    ...statusItems(),
    section('See also'),
    `${bold('docker-machine')}(1), ${bold('docker')}(1), ${bold('ssh')}(1)`,
  ]);
}

function commandPart(command: Command): readonly string[] {
  const { name, words, summary, details } = command;
  return [
    subsection(`slipway ${name}${words === '' ? '' : ` ${words}`}`),
    paragraph(sentence(summary)),
    ...(details === undefined ? [] : [paragraph(sentence(details))]),
    ...infosOf(command).map(optionItem),
  ];
}

function optionItem(info: OptionInfo): string {
  const { also, description, env, flag, kind, secret, short, value } = info;
  const names = [...(short === undefined ? [] : [`-${short}`]), `--${flag}`];
  const many = kind === 'list' ? ' …' : '';
  const term = secret
    ? bold(env ?? flag)
    : `${names.map(bold).join(', ')}${kind === 'boolean' ? '' : ` ${italic(value + many)}`}`;
  const others = also.length > 0 ? ` Also ${listed(also.map((name) => `\`--${name}\``))}.` : '';
  const variable = env === undefined || secret ? '' : ` [${env}]`;
  return item(term, `${sentence(`${description}${choicesOf(info)}`)}${defaultOf(info)}${others}${variable}`);
}

function choicesOf({ choices }: OptionInfo): string {
  return choices.length === 0 ? '' : `: ${listed(choices, 'or')}`;
}

function defaultOf({ default: value, required }: OptionInfo): string {
  if (required) return ' Required.';
  const none = value === undefined || value === false || (Array.isArray(value) && value.length === 0);
  return none ? '' : ` Default: ${String(value)}.`;
}

export function sentence(text: string): string {
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

function statusItems(): readonly string[] {
  const statuses = [...new Set(Object.values(exitCodes))].toSorted((left, right) => left - right);
  return [
    item(bold('0'), 'Done.'),
    item(
      bold('1'),
      'A bug in Slipway; of `status`: the engine does not answer; of `doctor`: something is missing; of `plan --exit-code`: something is to be done.',
    ),
    ...statuses.map((status) =>
      item(
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

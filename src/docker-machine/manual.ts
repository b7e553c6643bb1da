import { bold, italic, taggedParagraph, manPage, paragraph, section, subsection, toSentence } from '../manual/roff.ts';
import { machineOptionSpecs } from '../machine-options/option-specs.ts';
import { drivers } from '../drivers/registry.ts';
import type { DockerMachineCommand } from './docker-machine-command.ts';
import { commands } from './commands/docker-machine-command-list.ts';
import { driverFlags } from './commands/create.ts';
import type { Flag } from './go-flags.ts';
import { globalFlags } from './help.ts';
import { dockerMachineDriverName } from './config-json/driver-mappings.ts';

/** Returns docs/docker-machine-commands.md: every flag of the drop-in, from the declarations that the program uses. */
export async function renderDockerMachinePage(): Promise<string> {
  const loaded = await loadCommands();
  return `${[
    '# Commands of `docker-machine`',
    'Made from the declarations in `src/` by `npm run docs`; a test fails when it is stale. What they do otherwise than the old tool: [From Docker Machine](docker-machine.md).',
    'A flag may begin with one dash or two, stand before the names or behind them, and have its value behind a blank or `=`. One that is marked … may be given more than once.',
    '## Before the command',
    flagTable(globalFlags),
    ...loaded.map(commandSection),
    ...drivers.map(({ name, summary }) => {
      const flags = driverFlags(name);
      const head = `## \`create --driver ${dockerMachineDriverName(name)}\`: ${summary}`;
      return flags.length === 0 ? head : `${head}\n\n${flagTable(flags)}`;
    }),
  ].join('\n\n')}\n`;
}

async function loadCommands(): Promise<readonly DockerMachineCommand[]> {
  return await Promise.all(commands.map(async ({ load }) => load()));
}

function commandSection({ name, summary, argsUsage, details, flags }: DockerMachineCommand): string {
  const parts = [
    `## \`docker-machine ${name} ${argsUsage}\``,
    [summary, details].flatMap((text) => (text === undefined ? [] : [toSentence(text)])).join(' '),
    ...(flags.length === 0 ? [] : [flagTable(flags)]),
  ];
  return parts.join('\n\n');
}

function flagTable(flags: readonly Flag[]): string {
  const rows = flags.map(
    (flag) =>
      `| ${flag.names.map((name) => `\`${withDashes(name)}\``).join(', ')}${flag.kind === 'list' ? ' …' : ''} | ${envVariableOf(flag) === undefined ? '' : `\`${envVariableOf(flag)}\``} | ${formatDefault(flag)} | ${flag.usage} |`,
  );
  return ['| Flag | Environment | Default | Meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function withDashes(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}

/** Returns the variable of a flag. Slipway's options declare theirs in the schema, not in the flag. */
function envVariableOf({ env, names }: Flag): string | undefined {
  return env ?? machineOptionSpecs.find(({ flag }) => names.includes(flag))?.env;
}

function formatDefault({ defaultValue }: Flag): string {
  return defaultValue === undefined || defaultValue === '' ? '' : `\`${defaultValue}\``;
}

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['MACHINE_DEBUG', 'As `--debug`, where it is a Go truth: 1, t, true.'],
  ['DOCKER_HOST', 'What `active` and `ls` compare the URLs of machines with.'],
  ['SHELL', 'The shell that `env` writes for.'],
  ['NO_PROXY, no_proxy', 'What `env --no-proxy` adds to.'],
  ['SLIPWAY_SUDO_PASSWORD', 'Password for sudo on a host, if sudo asks for one.'],
];

const FILES: readonly (readonly [string, string])[] = [
  ['~/.docker/machine/machines/NAME/config.json', "A machine, in version 3 of the old tool's format."],
  ['~/.docker/machine/machines/NAME/machine.json', 'The record of a machine that was made or changed here.'],
  ['~/.docker/machine/machines/NAME/', 'ca.pem, cert.pem and key.pem: what DOCKER_CERT_PATH wants.'],
  ['~/.docker/machine/certs/', 'The certificate authority that the machines of this store share.'],
  ['~/.docker/cli-plugins/docker-machine', 'A link to this program, by which `docker machine` is a command.'],
];

/** Returns man/docker-machine.1. */
export async function renderDockerMachineManual(): Promise<string> {
  const loaded = await loadCommands();
  return manPage('docker-machine', 'the command line of Docker Machine over machines of Slipway', [
    section('Synopsis'),
    `${bold('docker-machine')} [${italic('options')}] ${italic('command')} [${italic('arguments')}]`,
    '.br',
    `${bold('docker machine')} ${italic('command')} [${italic('arguments')}]`,
    section('Description'),
    paragraph(
      'Takes the place of Docker Machine: the same commands, flags, variables, files and output, where a script could read it. The second form works once `slipway doctor --fix` has linked the program into the docker CLI. A flag may begin with one dash or two, and stand before the names or behind them. Commands that take a machine take the one named `default` where none is named.',
    ),
    section('Options'),
    ...globalFlags.map(flagItem),
    section('Commands'),
    ...loaded.flatMap(({ name, argsUsage, summary, details, flags }) => [
      subsection(`docker-machine ${name} ${argsUsage}`),
      paragraph(toSentence(summary)),
      ...(details === undefined ? [] : [paragraph(toSentence(details))]),
      ...flags.map(flagItem),
    ]),
    section('Drivers'),
    ...drivers.flatMap(({ name, summary }) => [
      subsection(`${dockerMachineDriverName(name)}: ${summary}`),
      ...driverFlags(name).map(flagItem),
    ]),
    section('Environment'),
    paragraph('Besides the variables that stand in brackets behind the options:'),
    ...ENVIRONMENT.map(([name, text]) => taggedParagraph(bold(name), text)),
    section('Files'),
    ...FILES.map(([path, text]) => taggedParagraph(italic(path), text)),
    section('Exit status'),
    taggedParagraph(bold('0'), 'Done; also where a question was not answered by yes.'),
    taggedParagraph(bold('1'), 'It failed; the message is on stderr.'),
    taggedParagraph(bold('3'), 'Of `create`: it was refused before anything existed.'),
    taggedParagraph(bold('130'), 'It was interrupted.'),
    paragraph('`ssh` and `scp` pass on the exit status of what they run.'),
    section('See also'),
    `${bold('slipway')}(1), ${bold('docker')}(1)`,
  ]);
}

function flagItem(flag: Flag): string {
  const { kind, names, usage } = flag;
  const env = envVariableOf(flag);
  const value = kind === 'switch' ? '' : ` ${italic(kind === 'list' ? 'value …' : 'value')}`;
  const suffix = formatDefault(flag) === '' ? '' : ` Default: ${formatDefault(flag)}.`;
  return taggedParagraph(
    `${names.map((name) => bold(withDashes(name))).join(', ')}${value}`,
    `${toSentence(usage)}${suffix}${env === undefined ? '' : ` [${env}]`}`,
  );
}

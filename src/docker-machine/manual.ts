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
    'Generated from the declarations in `src/` by `npm run docs`; a test fails if it is out of date. For differences from Docker Machine, see [Migrate from Docker Machine](docker-machine.md).',
    'A flag begins with one dash or two, comes before or after the names, and takes its value after a space or `=`. You can\nrepeat a flag marked with ….',
    '## Global options',
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
  ['MACHINE_DEBUG', 'Same as `--debug`, if its value is true in Go: 1, t or true.'],
  ['DOCKER_HOST', 'URL that `active` and `ls` compare with the URLs of machines.'],
  ['SHELL', 'Shell for which `env` prints.'],
  ['NO_PROXY, no_proxy', "Hosts that the proxy does not serve. `env --no-proxy` adds the machine's address."],
  ['SLIPWAY_SUDO_PASSWORD', 'Password for sudo on a host, if sudo asks for one.'],
];

const FILES: readonly (readonly [string, string])[] = [
  ['~/.docker/machine/machines/NAME/config.json', "A machine, in version 3 of Docker Machine's format."],
  ['~/.docker/machine/machines/NAME/machine.json', 'Record of a machine that this program created or changed.'],
  ['~/.docker/machine/machines/NAME/', 'Client certificates for DOCKER_CERT_PATH: ca.pem, cert.pem and key.pem.'],
  ['~/.docker/machine/certs/', 'Certificate authority that the machines of this store share.'],
  ['~/.docker/cli-plugins/docker-machine', 'Link to this program that provides the command `docker machine`.'],
];

/** Returns man/docker-machine.1. */
export async function renderDockerMachineManual(): Promise<string> {
  const loaded = await loadCommands();
  return manPage('docker-machine', "Docker Machine's command line for machines of Slipway", [
    section('Synopsis'),
    `${bold('docker-machine')} [${italic('options')}] ${italic('command')} [${italic('arguments')}]`,
    '.br',
    `${bold('docker machine')} ${italic('command')} [${italic('arguments')}]`,
    section('Description'),
    paragraph(
      'Replaces Docker Machine, with the same commands, flags, variables, files and output, as far as scripts can read them. The second form works after `slipway doctor --fix` has linked the program into the docker CLI. A flag begins with one dash or two, and comes before or after the names. Commands that take a machine use the machine `default` if you name none.',
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
    paragraph('In addition to the variables in brackets after the options:'),
    ...ENVIRONMENT.map(([name, text]) => taggedParagraph(bold(name), text)),
    section('Files'),
    ...FILES.map(([path, text]) => taggedParagraph(italic(path), text)),
    section('Exit status'),
    taggedParagraph(bold('0'), 'Success, or you did not answer a question with yes.'),
    taggedParagraph(bold('1'), 'Failure; the message is on stderr.'),
    taggedParagraph(bold('3'), 'From `create`: it was refused before anything existed.'),
    taggedParagraph(bold('130'), 'Canceled, for example by Ctrl-C.'),
    paragraph('`ssh` and `scp` exit with the exit status of the program that they run.'),
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

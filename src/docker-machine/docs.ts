import { bold, italic, item, page, paragraph, section, subsection } from '../terminal/roff.ts';
import { sentence } from '../cli/manual.ts';
import { machineInfos } from '../cli/spec.ts';
import { drivers } from '../drivers/registry.ts';
import type { OldCommand } from './command.ts';
import { commands } from './commands/all.ts';
import { driverFlags } from './commands/create.ts';
import type { Flag } from './flags.ts';
import { globalFlags } from './help.ts';
import { oldDriver } from './machines.ts';

/** docs/docker-machine-commands.md, whole: every flag of the drop-in, from the declarations that it reads itself. */
export async function machinePage(): Promise<string> {
  const loaded = await everyCommand();
  return `${[
    '# Commands of `docker-machine`',
    'Made from the declarations in `src/` by `npm run docs`; a test fails when it is stale. What they do otherwise than the old tool: [From Docker Machine](docker-machine.md).',
    'A flag may begin with one dash or two, stand before the names or behind them, and have its value behind a blank or `=`. One that is marked … may be given more than once.',
    '## Before the command',
    tableOf(globalFlags),
    ...loaded.map(commandSection),
    ...drivers.map(({ name, summary }) => {
      const flags = driverFlags(name);
      const head = `## \`create --driver ${oldDriver(name)}\`: ${summary}`;
      return flags.length === 0 ? head : `${head}\n\n${tableOf(flags)}`;
    }),
  ].join('\n\n')}\n`;
}

async function everyCommand(): Promise<readonly OldCommand[]> {
  return await Promise.all(commands.map(async ({ load }) => load()));
}

function commandSection({ name, summary, operands, details, flags }: OldCommand): string {
  const parts = [
    `## \`docker-machine ${name} ${operands}\``,
    [summary, details].flatMap((text) => (text === undefined ? [] : [sentence(text)])).join(' '),
    ...(flags.length === 0 ? [] : [tableOf(flags)]),
  ];
  return parts.join('\n\n');
}

function tableOf(flags: readonly Flag[]): string {
  const rows = flags.map(
    (flag) =>
      `| ${flag.names.map((name) => `\`${dashed(name)}\``).join(', ')}${flag.kind === 'list' ? ' …' : ''} | ${envOf(flag) === undefined ? '' : `\`${envOf(flag)}\``} | ${initialOf(flag)} | ${flag.usage} |`,
  );
  return ['| Flag | Environment | Default | Meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}

/** Options that both programs have read their variables by themselves. */
function envOf({ env, names }: Flag): string | undefined {
  return env ?? machineInfos.find(({ flag }) => names.includes(flag))?.env;
}

function initialOf({ initial }: Flag): string {
  return initial === undefined || initial === '' ? '' : `\`${initial}\``;
}

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['MACHINE_DEBUG', 'As `--debug`, where it is a Go truth: 1, t, true.'],
  ['DOCKER_HOST', 'What `active` and `ls` compare the URLs of machines with.'],
  ['SHELL', 'The shell that `env` writes for.'],
  ['NO_PROXY, no_proxy', 'What `env --no-proxy` adds to.'],
  ['SLIPWAY_SUDO_PASSWORD', 'Password for sudo on a host, where it asks for one.'],
];

const FILES: readonly (readonly [string, string])[] = [
  ['~/.docker/machine/machines/NAME/config.json', 'A machine, in version 3 of the old tool’s format.'],
  ['~/.docker/machine/machines/NAME/machine.json', 'The record of a machine that was made or changed here.'],
  ['~/.docker/machine/machines/NAME/', 'ca.pem, cert.pem and key.pem: what DOCKER_CERT_PATH wants.'],
  ['~/.docker/machine/certs/', 'The certificate authority that the machines of this store share.'],
  ['~/.docker/cli-plugins/docker-machine', 'A link to this program, by which `docker machine` is a command.'],
];

/** man/docker-machine.1, whole. */
export async function machineManual(): Promise<string> {
  const loaded = await everyCommand();
  return page('docker-machine', 'the command line of Docker Machine over machines of Slipway', [
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
    ...loaded.flatMap(({ name, operands, summary, details, flags }) => [
      subsection(`docker-machine ${name} ${operands}`),
      paragraph(sentence(summary)),
      ...(details === undefined ? [] : [paragraph(sentence(details))]),
      ...flags.map(flagItem),
    ]),
    section('Drivers'),
    ...drivers.flatMap(({ name, summary }) => [
      subsection(`${oldDriver(name)}: ${summary}`),
      ...driverFlags(name).map(flagItem),
    ]),
    section('Environment'),
    paragraph('Besides the variables that stand in brackets behind the options:'),
    ...ENVIRONMENT.map(([name, text]) => item(bold(name), text)),
    section('Files'),
    ...FILES.map(([path, text]) => item(italic(path), text)),
    section('Exit status'),
    item(bold('0'), 'Done; also where a question was not answered by yes.'),
    item(bold('1'), 'It failed; the message is on stderr.'),
    item(bold('3'), 'Of `create`: it was refused before anything existed.'),
    item(bold('130'), 'It was interrupted.'),
    paragraph('`ssh` and `scp` pass on the exit status of what they run.'),
    section('See also'),
    `${bold('slipway')}(1), ${bold('docker')}(1)`,
  ]);
}

function flagItem(flag: Flag): string {
  const { kind, names, usage } = flag;
  const env = envOf(flag);
  const value = kind === 'switch' ? '' : ` ${italic(kind === 'list' ? 'value …' : 'value')}`;
  const initial = initialOf(flag) === '' ? '' : ` Default: ${initialOf(flag)}.`;
  return item(
    `${names.map((name) => bold(dashed(name))).join(', ')}${value}`,
    `${sentence(usage)}${initial}${env === undefined ? '' : ` [${env}]`}`,
  );
}

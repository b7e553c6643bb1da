import { toCommandLine } from '../../ssh/shell.ts';
import { defineOld, type Call } from '../command.ts';
import { configOf } from '../config.ts';
import { Failure } from '../failure.ts';
import { mustAnswer, nameIn, readyNamed } from '../machines.ts';
import { shellNamed } from '../shells.ts';
import { swarmUrl } from '../swarm.ts';

type Setting = readonly [name: string, value: string | undefined];

export const env = defineOld({
  name: 'env',
  summary: 'Display the commands to set up the environment for the Docker client',
  operands: '[arg...]',
  flags: [
    { names: ['swarm'], kind: 'switch', usage: 'Display the Swarm config instead of the Docker daemon' },
    {
      names: ['shell'],
      kind: 'text',
      usage:
        'Force environment to be configured for a specified shell: [fish, cmd, powershell, tcsh, emacs], default is auto-detect',
    },
    { names: ['unset', 'u'], kind: 'switch', usage: 'Unset variables instead of setting them' },
    { names: ['no-proxy'], kind: 'switch', usage: 'Add machine IP to NO_PROXY environment variable' },
  ],
  async run(call) {
    const { argv, out, values, words } = call;
    if (values.unset === true && words.length > 0)
      throw new Failure('Error: Expected no machine name when the -u flag is present');
    const { set, unset, comment, use } = shellNamed(shellOf(call));
    const settings = values.unset === true ? cleared(call) : await settingsFor(call);
    for (const [name, value] of settings) out(value === undefined ? unset(name) : set(name, value));
    out(`${comment} Run this command to configure your shell: `);
    out(`${comment} ${use(toCommandLine(argv))}`);
  },
});

function shellOf({ env: variables, out, values, world: { computer } }: Call): string {
  if (typeof values.shell === 'string' && values.shell !== '') return values.shell;
  if (computer.platform === 'win32') {
    if (variables.__fish_bin_dir) return 'fish';
    if (!variables.SHELL) return variables.PSModulePath === undefined ? 'cmd' : 'powershell';
  }
  const shell = variables.SHELL?.split(/[\\/]/)
    .at(-1)
    ?.replace(/\.exe$/, '');
  if (shell) return shell;
  out(
    "The default lines below are for a sh/bash shell, you can specify the shell you're using, with the --shell flag.\n",
  );
  throw new Failure('Error: Unknown shell');
}

async function settingsFor(call: Call): Promise<readonly Setting[]> {
  const { values, world } = call;
  const machine = await readyNamed(await nameIn(call), world);
  await mustAnswer(machine, world, 'Error checking TLS connection: ');
  const { endpoint, host, spec } = machine;
  const url =
    values.swarm === true
      ? swarmUrl((await configOf(machine, call)).HostOptions.SwarmOptions, host.address, spec.name)
      : endpoint.url;
  return [
    ['DOCKER_TLS_VERIFY', endpoint.tls ? '1' : undefined],
    ['DOCKER_HOST', url],
    ['DOCKER_CERT_PATH', world.store.paths(spec.name).tls],
    ['DOCKER_MACHINE_NAME', spec.name],
    ...(world.computer.platform === 'win32' ? [['COMPOSE_CONVERT_WINDOWS_PATHS', 'true'] as const] : []),
    ...(values['no-proxy'] === true ? [exempting(host.address, call)] : []),
  ];
}

function exempting(address: string, { env: variables }: Call): Setting {
  const name = proxyVariable(variables);
  const before = variables[name] ?? '';
  return [name, before.split(',').includes(address) ? before : [before, address].filter(Boolean).join(',')];
}

function cleared({ env: variables, values }: Call): readonly Setting[] {
  const names = ['DOCKER_TLS_VERIFY', 'DOCKER_HOST', 'DOCKER_CERT_PATH', 'DOCKER_MACHINE_NAME'];
  return [...names, ...(values['no-proxy'] === true ? [proxyVariable(variables)] : [])].map((name) => [
    name,
    undefined,
  ]);
}

function proxyVariable(variables: Call['env']): string {
  return variables.no_proxy ? 'no_proxy' : 'NO_PROXY';
}

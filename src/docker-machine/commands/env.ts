import { formatCommandLineFor, isPowershell } from '../../profiles/shell-env.ts';
import { defineDockerMachineCommand, type DockerMachineInvocation } from '../docker-machine-command.ts';
import { resolveSwarmUrl } from '../load-config-json.ts';
import { DockerMachineError } from '../docker-machine-error.ts';
import { requireEngineAnswer, resolveMachineName, requireReadyMachine } from '../machine-arguments.ts';
import { envSyntaxFor } from '../env-syntax.ts';

/** A variable with its value; undefined unsets it. */
type DockerMachineEnvSetting = readonly [name: string, value: string | undefined];

export const env = defineDockerMachineCommand({
  name: 'env',
  summary: 'Display the commands to set up the environment for the Docker client',
  argsUsage: '[arg...]',
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
    const { argv, print, values, words } = call;
    if (values.unset === true && words.length > 0)
      throw new DockerMachineError('Error: Expected no machine name when the -u flag is present');
    const shell = detectShell(call);
    const { set, unset, comment, evalHint } = envSyntaxFor(shell);
    const settings = values.unset === true ? settingsToUnset(call) : await resolveSettings(call);
    for (const [name, value] of settings) print(value === undefined ? unset(name) : set(name, value));
    print(`${comment} Run this command to configure your shell: `);
    print(`${comment} ${evalHint(formatCommandLineFor(shell, argv))}`);
  },
});

/** Returns the shell's name: that of `--shell`, else the one that runs. */
function detectShell({ env: variables, print, values, world: { computer } }: DockerMachineInvocation): string {
  if (typeof values.shell === 'string' && values.shell !== '') return values.shell;
  if (computer.platform === 'win32') {
    if (variables.__fish_bin_dir) return 'fish';
    if (!variables.SHELL) return isPowershell(variables) ? 'powershell' : 'cmd';
  }
  const shell = variables.SHELL?.split(/[\\/]/)
    .at(-1)
    ?.replace(/\.exe$/, '');
  if (shell) return shell;
  print(
    "The default lines below are for a sh/bash shell, you can specify the shell you're using, with the --shell flag.\n",
  );
  throw new DockerMachineError('Error: Unknown shell');
}

async function resolveSettings(call: DockerMachineInvocation): Promise<readonly DockerMachineEnvSetting[]> {
  const { values, world } = call;
  const machine = await requireReadyMachine(await resolveMachineName(call), world);
  await requireEngineAnswer(machine, world, 'Error checking TLS connection: ');
  const { endpoint, host, spec } = machine;
  const url = values.swarm === true ? await resolveSwarmUrl(machine, call) : endpoint.url;
  return [
    ['DOCKER_TLS_VERIFY', endpoint.tls ? '1' : undefined],
    ['DOCKER_HOST', url],
    ['DOCKER_CERT_PATH', world.store.paths(spec.name).tls],
    ['DOCKER_MACHINE_NAME', spec.name],
    ...(world.computer.platform === 'win32' ? [['COMPOSE_CONVERT_WINDOWS_PATHS', 'true'] as const] : []),
    ...(values['no-proxy'] === true ? [noProxySetting(host.address, call)] : []),
  ];
}

/** Adds the address to NO_PROXY. */
function noProxySetting(address: string, { env: variables }: DockerMachineInvocation): DockerMachineEnvSetting {
  const name = proxyVariableName(variables);
  const current = variables[name] ?? '';
  return [name, current.split(',').includes(address) ? current : [current, address].filter(Boolean).join(',')];
}

function settingsToUnset({ env: variables, values }: DockerMachineInvocation): readonly DockerMachineEnvSetting[] {
  const names = ['DOCKER_TLS_VERIFY', 'DOCKER_HOST', 'DOCKER_CERT_PATH', 'DOCKER_MACHINE_NAME'];
  return [...names, ...(values['no-proxy'] === true ? [proxyVariableName(variables)] : [])].map((name) => [
    name,
    undefined,
  ]);
}

/** Returns the spelling of NO_PROXY that the environment uses. */
function proxyVariableName(variables: DockerMachineInvocation['env']): string {
  return variables.no_proxy ? 'no_proxy' : 'NO_PROXY';
}

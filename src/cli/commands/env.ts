import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import {
  connectShellCommand,
  formatShellEnv,
  detectShellName,
  evalInShell,
  shells,
  type EnvSetting,
} from '../../profiles/shell-env.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';
import { requireReadyMachine } from '../../machine/require-machine.ts';

const args = z.object({
  shell: z.enum(shells).optional().meta({ description: 'Shell to print for; the default is $SHELL', value: 'name' }),
  unset: z.boolean().default(false).meta({ description: 'Undo the settings', short: 'u' }),
  socket: z
    .boolean()
    .default(false)
    .meta({ description: "Connect through the machine's socket on this computer, for clients that know no TLS" }),
  noProxy: z
    .boolean()
    .default(false)
    .meta({ description: "Also exclude the machine's address from the proxy", flag: 'no-proxy' }),
});

export const env: Command<typeof args> = defineCommand({
  name: 'env',
  summary: 'Print the environment settings that connect a shell to a machine',
  usage: '[name]',
  args,
  details:
    'Your shell evaluates the output. In bash and zsh: eval "$(slipway env NAME)". In fish: slipway env NAME | source. In PowerShell: slipway env NAME | Out-String | Invoke-Expression. In cmd: FOR /f "tokens=*" %i IN (\'slipway env NAME\') DO @%i',
  async run({ positionals: [name], args: { shell: requestedShell, unset, socket, noProxy } }, cli) {
    const { computer } = cli.world;
    if (unset === (name !== undefined)) {
      throw new SlipwayError('USAGE', unset ? '--unset takes no machine' : 'Either a machine or --unset is required', {
        hint: `For example: ${connectShellCommand(undefined, computer)}, or ${evalInShell('slipway env --unset', computer)}`,
      });
    }
    const shell = requestedShell ?? detectShellName(computer);
    if (shell === undefined) {
      throw new SlipwayError('USAGE', 'The shell is unknown: $SHELL is not set', {
        hint: `Choose one: --shell ${shells.join(' | ')}`,
      });
    }
    if (socket && noProxy) {
      throw new SlipwayError('USAGE', '--socket and --no-proxy exclude each other: no proxy is used for a socket', {
        hint: 'Leave out --no-proxy',
      });
    }
    const settings = await loadSettings(name, { socket, noProxy }, cli);
    const argv = [
      cli.program,
      'env',
      ...(name === undefined ? ['--unset'] : [name]),
      ...(requestedShell === undefined ? [] : ['--shell', requestedShell]),
      ...(socket ? ['--socket'] : []),
      ...(noProxy ? ['--no-proxy'] : []),
    ];
    return {
      json: Object.fromEntries(settings.map(([key, value]) => [key, value ?? null])),
      text: formatShellEnv(shell, settings, argv),
    };
  },
});

type EnvOptions = { readonly socket: boolean; readonly noProxy: boolean };

async function loadSettings(
  name: string | undefined,
  { socket, noProxy }: EnvOptions,
  cli: Cli,
): Promise<readonly EnvSetting[]> {
  if (name === undefined) return settingsToUnset(noProxy, cli);
  return socket ? await loadSocketSettings(name, cli) : await loadNetworkSettings(name, noProxy, cli);
}

async function loadNetworkSettings(name: string, noProxy: boolean, cli: Cli): Promise<readonly EnvSetting[]> {
  const { endpoint, host } = await requireReadyMachine(name, cli.world.store);
  const proxy = noProxyVariable(cli);
  const exempt = (cli.env[proxy] ?? '').split(',').filter((entry) => entry !== '');
  return [
    ['DOCKER_TLS_VERIFY', endpoint.tls ? '1' : undefined],
    ['DOCKER_HOST', endpoint.url],
    ['DOCKER_CERT_PATH', endpoint.tls ? cli.world.store.paths(name).tls : undefined],
    ['DOCKER_MACHINE_NAME', name],
    ...withoutContext(cli),
    ...(noProxy ? [[proxy, [...new Set([...exempt, host.address])].join(',')] as const] : []),
  ];
}

/** Returns settings for the machine's socket, once its link serves it. */
async function loadSocketSettings(name: string, cli: Cli): Promise<readonly EnvSetting[]> {
  const { store, links, computer } = cli.world;
  const machine = await requireReadyMachine(name, store);
  const { findServedSocket } = await import('../../link/served-socket.ts');
  await links?.start(machine);
  return [
    ['DOCKER_TLS_VERIFY', undefined],
    ['DOCKER_HOST', await findServedSocket(machine, store.paths(name).folder, computer.platform)],
    ['DOCKER_CERT_PATH', undefined],
    ['DOCKER_MACHINE_NAME', name],
    ...withoutContext(cli),
  ];
}

/**
 * Unsets DOCKER_CONTEXT, which overrides DOCKER_HOST according to Docker's documentation. The docker CLI ignores that;
 * other clients do not.
 */
function withoutContext(cli: Cli): readonly EnvSetting[] {
  return cli.env.DOCKER_CONTEXT ? [['DOCKER_CONTEXT', undefined]] : [];
}

function settingsToUnset(noProxy: boolean, cli: Cli): readonly EnvSetting[] {
  const names = [
    'DOCKER_TLS_VERIFY',
    'DOCKER_HOST',
    'DOCKER_CERT_PATH',
    'DOCKER_MACHINE_NAME',
    ...(noProxy ? [noProxyVariable(cli)] : []),
  ];
  return names.map((name) => [name, undefined]);
}

function noProxyVariable({ env: variables }: Cli): string {
  return !variables.no_proxy && variables.NO_PROXY ? 'NO_PROXY' : 'no_proxy';
}

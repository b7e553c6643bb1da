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
  async run({ positionals: [name], args: { shell: requestedShell, unset, noProxy } }, cli) {
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
    const settings = name === undefined ? settingsToUnset(noProxy, cli) : await loadSettings(name, noProxy, cli);
    const argv = [
      cli.program,
      'env',
      ...(name === undefined ? ['--unset'] : [name]),
      ...(requestedShell === undefined ? [] : ['--shell', requestedShell]),
      ...(noProxy ? ['--no-proxy'] : []),
    ];
    return {
      json: Object.fromEntries(settings.map(([key, value]) => [key, value ?? null])),
      text: formatShellEnv(shell, settings, argv),
    };
  },
});

async function loadSettings(name: string, noProxy: boolean, cli: Cli): Promise<readonly EnvSetting[]> {
  const { endpoint, host } = await requireReadyMachine(name, cli.world.store);
  const proxy = noProxyVariable(cli);
  const exempt = (cli.env[proxy] ?? '').split(',').filter((entry) => entry !== '');
  return [
    ['DOCKER_TLS_VERIFY', endpoint.tls ? '1' : undefined],
    ['DOCKER_HOST', endpoint.url],
    ['DOCKER_CERT_PATH', endpoint.tls ? cli.world.store.paths(name).tls : undefined],
    ['DOCKER_MACHINE_NAME', name],
    // According to Docker's documentation, DOCKER_CONTEXT overrides DOCKER_HOST. The docker CLI ignores that; other
    // clients do not.
    ...(cli.env.DOCKER_CONTEXT ? [['DOCKER_CONTEXT', undefined] as const] : []),
    ...(noProxy ? [[proxy, [...new Set([...exempt, host.address])].join(',')] as const] : []),
  ];
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

import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { formatShellEnv, detectShellName, shells, type EnvSetting } from '../../profiles/shell-env.ts';
import { toCommandLine } from '../../ssh/shell.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';
import { requireReadyMachine } from '../../machine/require-machine.ts';

const args = z.object({
  shell: z
    .enum(shells)
    .optional()
    .meta({ description: 'Shell to write for; without it the one of $SHELL', value: 'name' }),
  unset: z.boolean().default(false).meta({ description: 'Undo the settings', short: 'u' }),
  noProxy: z
    .boolean()
    .default(false)
    .meta({ description: "Also keep the machine's address out of the proxy", flag: 'no-proxy' }),
});

export const env: Command<typeof args> = defineCommand({
  name: 'env',
  summary: 'Print the settings that connect a shell to a machine: eval "$(slipway env NAME)"',
  usage: '[name]',
  args,
  async run({ positionals: [name], args: { shell: wanted, unset, noProxy } }, cli) {
    if (unset === (name !== undefined)) {
      throw new SlipwayError(
        'USAGE',
        unset ? 'With --unset there is no machine to name' : 'Name a machine, or say --unset',
        {
          hint: 'eval "$(slipway env NAME)", or eval "$(slipway env --unset)"',
        },
      );
    }
    const shell = wanted ?? detectShellName(cli.env, cli.world.computer.platform);
    if (shell === undefined) {
      throw new SlipwayError('USAGE', "Which shell this is can't be told: $SHELL is not set", {
        hint: `Say it: --shell ${shells.join(' | ')}`,
      });
    }
    const settings = name === undefined ? settingsToUnset(noProxy, cli) : await loadSettings(name, noProxy, cli);
    const argv = [
      cli.program,
      'env',
      ...(name === undefined ? ['--unset'] : [name]),
      ...(wanted === undefined ? [] : ['--shell', wanted]),
      ...(noProxy ? ['--no-proxy'] : []),
    ];
    return {
      json: Object.fromEntries(settings.map(([key, value]) => [key, value ?? null])),
      text: formatShellEnv(shell, settings, toCommandLine(argv)),
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
    // Docker's documentation puts it above DOCKER_HOST. The docker CLI does not; others go by the documentation.
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

import type { DockerMachineCommand } from './docker-machine-command.ts';
import { formatFlagLines, type Flag } from './go-flags.ts';

export const PROGRAM = 'docker-machine';

export const globalFlags: readonly Flag[] = [
  { names: ['debug', 'D'], kind: 'switch', usage: 'Enable debug mode' },
  { names: ['storage-path', 's'], kind: 'text', usage: 'Configures storage path', env: 'MACHINE_STORAGE_PATH' },
  { names: ['tls-ca-cert'], kind: 'text', usage: 'CA to verify remotes against', env: 'MACHINE_TLS_CA_CERT' },
  { names: ['tls-ca-key'], kind: 'text', usage: 'Private key to generate certificates', env: 'MACHINE_TLS_CA_KEY' },
  { names: ['tls-client-cert'], kind: 'text', usage: 'Client cert to use for TLS', env: 'MACHINE_TLS_CLIENT_CERT' },
  {
    names: ['tls-client-key'],
    kind: 'text',
    usage: 'Private key used in client TLS auth',
    env: 'MACHINE_TLS_CLIENT_KEY',
  },
  {
    names: ['github-api-token'],
    kind: 'text',
    usage: 'Accepted, without effect: nothing is asked of GitHub',
    env: 'MACHINE_GITHUB_API_TOKEN',
  },
  {
    names: ['native-ssh'],
    kind: 'switch',
    usage: 'Accepted, without effect: ssh and scp are your own, all else has a client of its own',
  },
  {
    names: ['bugsnag-api-token'],
    kind: 'text',
    usage: 'Accepted, without effect: nothing is reported to anybody',
    env: 'MACHINE_BUGSNAG_API_TOKEN',
  },
  { names: ['help', 'h'], kind: 'switch', usage: 'show help' },
  { names: ['version', 'v'], kind: 'switch', usage: 'print the version' },
];

export function formatProgramHelp(
  commands: readonly Pick<DockerMachineCommand, 'name' | 'summary'>[],
  version: string,
): string {
  const width = Math.max(...commands.map(({ name }) => name.length)) + 3;
  return [
    `Usage: ${PROGRAM} [OPTIONS] COMMAND [arg...]`,
    '',
    'Create and manage machines running Docker.',
    '',
    `Version: ${version}`,
    '',
    'Options:',
    ...formatFlagLines(globalFlags),
    '',
    'Commands:',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`),
    '',
    `Run '${PROGRAM} COMMAND --help' for more information on a command.`,
  ].join('\n');
}

export function formatCommandHelp(
  { name, summary, argsUsage, details }: DockerMachineCommand,
  flags: readonly Flag[],
): string {
  return [
    `Usage: ${PROGRAM} ${name}${flags.length > 0 ? ' [OPTIONS]' : ''} ${argsUsage}`,
    '',
    summary,
    ...(details === undefined ? [] : ['', 'Description:', `   ${details}`]),
    ...(flags.length > 0 ? ['', 'Options:', '', ...formatFlagLines(flags)] : []),
  ].join('\n');
}

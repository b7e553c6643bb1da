import type { DockerMachineCommand } from '../docker-machine-command.ts';

type DockerMachineCommandEntry = {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<DockerMachineCommand>;
};

/** All commands, in the order of the help. A command's file is loaded when the user calls the command. */
export const commands: readonly DockerMachineCommandEntry[] = [
  { name: 'active', summary: 'Print which machine is active', load: async () => (await import('./active.ts')).active },
  {
    name: 'config',
    summary: 'Print the connection config for machine',
    load: async () => (await import('./config.ts')).config,
  },
  { name: 'create', summary: 'Create a machine', load: async () => (await import('./create.ts')).create },
  {
    name: 'env',
    summary: 'Display the commands to set up the environment for the Docker client',
    load: async () => (await import('./env.ts')).env,
  },
  {
    name: 'inspect',
    summary: 'Inspect information about a machine',
    load: async () => (await import('./inspect.ts')).inspect,
  },
  { name: 'ip', summary: 'Get the IP address of a machine', load: async () => (await import('./print-values.ts')).ip },
  { name: 'kill', summary: 'Kill a machine', load: async () => (await import('./power.ts')).kill },
  { name: 'ls', summary: 'List machines', load: async () => (await import('./ls.ts')).ls },
  {
    name: 'provision',
    summary: 'Re-provision existing machines',
    load: async () => (await import('./provision.ts')).provision,
  },
  {
    name: 'regenerate-certs',
    summary: 'Regenerate TLS Certificates for a machine',
    load: async () => (await import('./provision.ts')).regenerateCerts,
  },
  { name: 'restart', summary: 'Restart a machine', load: async () => (await import('./power.ts')).restart },
  { name: 'rm', summary: 'Remove a machine', load: async () => (await import('./rm.ts')).rm },
  {
    name: 'ssh',
    summary: 'Log into or run a command on a machine with SSH.',
    load: async () => (await import('./ssh.ts')).ssh,
  },
  { name: 'scp', summary: 'Copy files between machines', load: async () => (await import('./scp.ts')).scp },
  {
    name: 'mount',
    summary: 'Mount or unmount a directory from a machine with SSHFS.',
    load: async () => (await import('./mount.ts')).mount,
  },
  { name: 'start', summary: 'Start a machine', load: async () => (await import('./power.ts')).start },
  {
    name: 'status',
    summary: 'Get the status of a machine',
    load: async () => (await import('./print-values.ts')).status,
  },
  { name: 'stop', summary: 'Stop a machine', load: async () => (await import('./power.ts')).stop },
  {
    name: 'upgrade',
    summary: 'Upgrade a machine to the latest version of Docker',
    load: async () => (await import('./provision.ts')).upgrade,
  },
  { name: 'url', summary: 'Get the URL of a machine', load: async () => (await import('./print-values.ts')).url },
  {
    name: 'version',
    summary: 'Show the Docker Machine version or a machine docker version',
    load: async () => (await import('./print-values.ts')).version,
  },
];

import type { Command } from '../command.ts';

export type CommandGroup = 'Make' | 'Look' | 'Connect' | 'Help';

/** What help shows of a command without loading it. */
export type CommandEntry = {
  readonly name: string;
  readonly group: CommandGroup;
  readonly summary: string;
  readonly load: () => Promise<Command>;
};

/** The registry: one line a command, in the order in which help shows them. A command loads only when it is called. */
export const commands: readonly CommandEntry[] = [
  {
    name: 'create',
    group: 'Make',
    summary: 'Make a machine, or finish one',
    load: async () => (await import('./create.ts')).create,
  },
  {
    name: 'provision',
    group: 'Make',
    summary: 'Bring a machine up to date',
    load: async () => (await import('./provision.ts')).provision,
  },
  {
    name: 'upgrade',
    group: 'Make',
    summary: 'Upgrade the engine',
    load: async () => (await import('./upgrade.ts')).upgrade,
  },
  { name: 'rm', group: 'Make', summary: 'Remove machines', load: async () => (await import('./rm.ts')).rm },
  { name: 'ls', group: 'Look', summary: 'List machines', load: async () => (await import('./ls.ts')).ls },
  {
    name: 'status',
    group: 'Look',
    summary: 'Show how a machine is',
    load: async () => (await import('./status.ts')).status,
  },
  {
    name: 'inspect',
    group: 'Look',
    summary: 'Print the record of a machine',
    load: async () => (await import('./inspect.ts')).inspect,
  },
  {
    name: 'ip',
    group: 'Look',
    summary: 'Print the address of machines',
    load: async () => (await import('./ip.ts')).ip,
  },
  {
    name: 'url',
    group: 'Look',
    summary: 'Print the URL of an engine',
    load: async () => (await import('./url.ts')).url,
  },
  {
    name: 'use',
    group: 'Connect',
    summary: 'Point the docker CLI at a machine',
    load: async () => (await import('./use.ts')).use,
  },
  {
    name: 'env',
    group: 'Connect',
    summary: 'Print settings for a shell',
    load: async () => (await import('./env.ts')).env,
  },
  {
    name: 'ssh',
    group: 'Connect',
    summary: 'Open a shell or run a command',
    load: async () => (await import('./ssh.ts')).ssh,
  },
  { name: 'scp', group: 'Connect', summary: 'Copy files', load: async () => (await import('./scp.ts')).scp },
  {
    name: 'drivers',
    group: 'Help',
    summary: 'List drivers and whether they work here',
    load: async () => (await import('./drivers.ts')).drivers,
  },
  {
    name: 'version',
    group: 'Help',
    summary: 'Print the version',
    load: async () => (await import('./version.ts')).version,
  },
];

import type { Command } from '../command.ts';

export type CommandGroup = 'Make' | 'Run' | 'Look' | 'Connect' | 'Help';

/** What help shows of a command without loading it. */
export type CommandEntry = {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<Command>;
};

/** Commands of two words that share the first: `image ls`. Their names are whole. */
export type CommandFamily = {
  readonly name: string;
  readonly summary: string;
  readonly members: readonly CommandEntry[];
};

/** The registry: one line a command, in the order in which help shows them. A command loads only when it is called. */
export const commands: readonly ((CommandEntry | CommandFamily) & { readonly group: CommandGroup })[] = [
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
    name: 'plan',
    group: 'Make',
    summary: 'Show what machines.yaml would change',
    load: async () => (await import('./plan.ts')).plan,
  },
  {
    name: 'apply',
    group: 'Make',
    summary: 'Make machines what machines.yaml says',
    load: async () => (await import('./apply.ts')).apply,
  },
  {
    name: 'upgrade',
    group: 'Make',
    summary: 'Upgrade the engine',
    load: async () => (await import('./upgrade.ts')).upgrade,
  },
  {
    name: 'regenerate-certs',
    group: 'Make',
    summary: 'Make new certificates',
    load: async () => (await import('./regenerate-certs.ts')).regenerateCerts,
  },
  { name: 'rm', group: 'Make', summary: 'Remove machines', load: async () => (await import('./rm.ts')).rm },
  {
    name: 'import',
    group: 'Make',
    summary: 'Take over machines of docker-machine',
    load: async () => (await import('./import.ts')).importCommand,
  },
  {
    name: 'gc',
    group: 'Make',
    summary: 'Find and remove what no machine knows',
    load: async () => (await import('./gc.ts')).gc,
  },
  {
    name: 'image',
    group: 'Make',
    summary: 'Images of local VMs, and spare machines',
    members: [
      {
        name: 'image ls',
        summary: 'List local images',
        load: async () => (await import('./image/ls.ts')).imageLs,
      },
      {
        name: 'image build',
        summary: 'Build an image of signed packages',
        load: async () => (await import('./image/build.ts')).imageBuild,
      },
      {
        name: 'image pull',
        summary: "Make an image of a vendor's cloud image",
        load: async () => (await import('./image/pull.ts')).imagePull,
      },
      {
        name: 'image rm',
        summary: 'Remove images that no machine uses',
        load: async () => (await import('./image/rm.ts')).imageRm,
      },
      {
        name: 'image warm',
        summary: 'Start spare machines ahead',
        load: async () => (await import('./image/warm.ts')).imageWarm,
      },
      {
        name: 'image prune',
        summary: 'Remove spare machines and leftovers',
        load: async () => (await import('./image/prune.ts')).imagePrune,
      },
    ],
  },
  {
    name: 'start',
    group: 'Run',
    summary: 'Start machines',
    load: async () => (await import('./start.ts')).start,
  },
  { name: 'stop', group: 'Run', summary: 'Shut machines down', load: async () => (await import('./stop.ts')).stop },
  {
    name: 'restart',
    group: 'Run',
    summary: 'Shut machines down and start them again',
    load: async () => (await import('./restart.ts')).restart,
  },
  { name: 'kill', group: 'Run', summary: 'End machines at once', load: async () => (await import('./kill.ts')).kill },
  {
    name: 'extend',
    group: 'Run',
    summary: 'Move the deadline of machines',
    load: async () => (await import('./extend.ts')).extend,
  },
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
    name: 'active',
    group: 'Look',
    summary: 'Print the machine that docker talks to',
    load: async () => (await import('./active.ts')).active,
  },
  {
    name: 'events',
    group: 'Look',
    summary: 'Follow what happens on engines',
    load: async () => (await import('./events.ts')).events,
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
    name: 'config',
    group: 'Connect',
    summary: 'Print flags for one docker command',
    load: async () => (await import('./config.ts')).config,
  },
  {
    name: 'ssh',
    group: 'Connect',
    summary: 'Open a shell or run a command',
    load: async () => (await import('./ssh.ts')).ssh,
  },
  { name: 'scp', group: 'Connect', summary: 'Copy files', load: async () => (await import('./scp.ts')).scp },
  {
    name: 'mount',
    group: 'Connect',
    summary: "Show a machine's folder here",
    load: async () => (await import('./mount.ts')).mount,
  },
  {
    name: 'doctor',
    group: 'Help',
    summary: 'Check this computer, and mend it',
    load: async () => (await import('./doctor.ts')).doctor,
  },
  {
    name: 'drivers',
    group: 'Help',
    summary: 'List drivers and whether they work here',
    load: async () => (await import('./drivers.ts')).drivers,
  },
  {
    name: 'completion',
    group: 'Help',
    summary: 'Complete commands in your shell',
    load: async () => (await import('./completion.ts')).completion,
  },
  {
    name: 'version',
    group: 'Help',
    summary: 'Print the version',
    load: async () => (await import('./version.ts')).version,
  },
];

export const allCommands: readonly CommandEntry[] = commands.flatMap((entry) =>
  'members' in entry ? entry.members : [entry],
);

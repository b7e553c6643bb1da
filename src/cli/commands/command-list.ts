import type { Command } from '../command.ts';

export type CommandGroup = 'Manage' | 'Run' | 'Inspect' | 'Connect' | 'Help';

/** A command as help lists it, before it is loaded. */
export type CommandEntry = {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<Command>;
};

/** Commands of two words that share the first, such as `image ls`. Each member's name contains both words. */
export type CommandFamily = {
  readonly name: string;
  readonly summary: string;
  readonly members: readonly CommandEntry[];
};

/**
 * The registry: one entry per command, in the order in which help lists them. A command is loaded when it is called.
 */
export const commands: readonly ((CommandEntry | CommandFamily) & { readonly group: CommandGroup })[] = [
  {
    name: 'create',
    group: 'Manage',
    summary: 'Create machines, or continue an interrupted creation',
    load: async () => (await import('./create.ts')).create,
  },
  {
    name: 'provision',
    group: 'Manage',
    summary: 'Bring machines up to date',
    load: async () => (await import('./provision.ts')).provision,
  },
  {
    name: 'plan',
    group: 'Manage',
    summary: 'Show what apply would change',
    load: async () => (await import('./plan.ts')).plan,
  },
  {
    name: 'apply',
    group: 'Manage',
    summary: 'Make machines match machines.yaml',
    load: async () => (await import('./apply.ts')).apply,
  },
  {
    name: 'upgrade',
    group: 'Manage',
    summary: 'Upgrade the engines of machines',
    load: async () => (await import('./upgrade.ts')).upgrade,
  },
  {
    name: 'regenerate-certs',
    group: 'Manage',
    summary: 'Create new certificates',
    load: async () => (await import('./regenerate-certs.ts')).regenerateCerts,
  },
  { name: 'rm', group: 'Manage', summary: 'Remove machines', load: async () => (await import('./rm.ts')).rm },
  {
    name: 'import',
    group: 'Manage',
    summary: 'Import machines from Docker Machine',
    load: async () => (await import('./import.ts')).importCommand,
  },
  {
    name: 'gc',
    group: 'Manage',
    summary: 'Find and remove orphaned cloud resources',
    load: async () => (await import('./gc.ts')).gc,
  },
  {
    name: 'image',
    group: 'Manage',
    summary: 'Manage images and spares of local VMs',
    members: [
      {
        name: 'image ls',
        summary: 'List local images',
        load: async () => (await import('./image/ls.ts')).imageLs,
      },
      {
        name: 'image build',
        summary: 'Build an image from signed packages',
        load: async () => (await import('./image/build.ts')).imageBuild,
      },
      {
        name: 'image pull',
        summary: "Create an image from a vendor's cloud image",
        load: async () => (await import('./image/pull.ts')).imagePull,
      },
      {
        name: 'image rm',
        summary: 'Remove unused images',
        load: async () => (await import('./image/rm.ts')).imageRm,
      },
      {
        name: 'image warm',
        summary: 'Prepare spares for warm starts',
        load: async () => (await import('./image/warm.ts')).imageWarm,
      },
      {
        name: 'image prune',
        summary: 'Remove spares and leftovers',
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
  { name: 'stop', group: 'Run', summary: 'Stop machines', load: async () => (await import('./stop.ts')).stop },
  {
    name: 'restart',
    group: 'Run',
    summary: 'Restart machines',
    load: async () => (await import('./restart.ts')).restart,
  },
  {
    name: 'kill',
    group: 'Run',
    summary: 'Power off machines immediately',
    load: async () => (await import('./kill.ts')).kill,
  },
  {
    name: 'extend',
    group: 'Run',
    summary: 'Change or remove the deadline of machines',
    load: async () => (await import('./extend.ts')).extend,
  },
  { name: 'ls', group: 'Inspect', summary: 'List machines', load: async () => (await import('./ls.ts')).ls },
  {
    name: 'status',
    group: 'Inspect',
    summary: 'Show the state of a machine',
    load: async () => (await import('./status.ts')).status,
  },
  {
    name: 'inspect',
    group: 'Inspect',
    summary: 'Print the record of a machine',
    load: async () => (await import('./inspect.ts')).inspect,
  },
  {
    name: 'ip',
    group: 'Inspect',
    summary: 'Print the addresses of machines',
    load: async () => (await import('./ip.ts')).ip,
  },
  {
    name: 'url',
    group: 'Inspect',
    summary: 'Print the URL of an engine',
    load: async () => (await import('./url.ts')).url,
  },
  {
    name: 'active',
    group: 'Inspect',
    summary: 'Print the machine that docker uses',
    load: async () => (await import('./active.ts')).active,
  },
  {
    name: 'events',
    group: 'Inspect',
    summary: 'Stream events from engines',
    load: async () => (await import('./events.ts')).events,
  },
  {
    name: 'use',
    group: 'Connect',
    summary: 'Make docker use a machine',
    load: async () => (await import('./use.ts')).use,
  },
  {
    name: 'env',
    group: 'Connect',
    summary: 'Print environment settings for a shell',
    load: async () => (await import('./env.ts')).env,
  },
  {
    name: 'config',
    group: 'Connect',
    summary: 'Print docker flags for a machine',
    load: async () => (await import('./config.ts')).config,
  },
  {
    name: 'ssh',
    group: 'Connect',
    summary: 'Open a shell or run a command',
    load: async () => (await import('./ssh.ts')).ssh,
  },
  {
    name: 'scp',
    group: 'Connect',
    summary: 'Copy files to and from machines',
    load: async () => (await import('./scp.ts')).scp,
  },
  {
    name: 'link',
    group: 'Connect',
    summary: 'Show ports of a machine as they open',
    load: async () => (await import('./link.ts')).link,
  },
  {
    name: 'mount',
    group: 'Connect',
    summary: 'Mount a folder of a machine',
    load: async () => (await import('./mount.ts')).mount,
  },
  {
    name: 'doctor',
    group: 'Help',
    summary: 'Check this computer and fix it',
    load: async () => (await import('./doctor.ts')).doctor,
  },
  {
    name: 'drivers',
    group: 'Help',
    summary: 'List drivers and their availability',
    load: async () => (await import('./drivers.ts')).drivers,
  },
  {
    name: 'completion',
    group: 'Help',
    summary: 'Print a shell completion script',
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

/**
 * The flags for standalone Swarm, which engines before 1.12 used. Slipway stores and lists them, but sets up no Swarm.
 */
import { DockerMachineError } from './docker-machine-error.ts';
import type { Flag, FlagValues } from './go-flags.ts';

export const swarmFlags: readonly Flag[] = [
  { names: ['swarm'], kind: 'switch', usage: 'Kept with the machine; no standalone Swarm is set up' },
  {
    names: ['swarm-image'],
    kind: 'text',
    usage: 'Kept with the machine',
    env: 'MACHINE_SWARM_IMAGE',
    defaultValue: 'swarm:latest',
  },
  { names: ['swarm-master'], kind: 'switch', usage: 'Kept with the machine' },
  { names: ['swarm-discovery'], kind: 'text', usage: 'Kept with the machine', defaultValue: '' },
  { names: ['swarm-strategy'], kind: 'text', usage: 'Kept with the machine', defaultValue: 'spread' },
  { names: ['swarm-opt'], kind: 'list', usage: 'Kept with the machine' },
  { names: ['swarm-join-opt'], kind: 'list', usage: 'Kept with the machine' },
  { names: ['swarm-host'], kind: 'text', usage: 'Kept with the machine', defaultValue: 'tcp://0.0.0.0:3376' },
  { names: ['swarm-addr'], kind: 'text', usage: 'Kept with the machine', defaultValue: '' },
  { names: ['swarm-experimental'], kind: 'switch', usage: 'Kept with the machine' },
];

/** `HostOptions.SwarmOptions` of config.json, with types for the members that the drop-in uses. */
export type SwarmOptions = {
  readonly IsSwarm: boolean;
  readonly Master: boolean;
  readonly Discovery: string;
  readonly Host: string;
} & Readonly<Record<string, unknown>>;

/** Returns SwarmOptions for the flags of `create`. */
export function parseSwarmFlags(values: FlagValues): SwarmOptions {
  const text = (key: string): string => String(values[key] ?? '');
  const discovery = text('swarm-discovery');
  if (discovery !== '' && !/^[^:]*:\/\/./.test(discovery))
    throw new DockerMachineError(
      'Error setting machine configuration from flags provided: --swarm-discovery must be a URL like token://…',
    );
  const isMember = values.swarm === true;
  const isMaster = values['swarm-master'] === true;
  return {
    IsSwarm: isMember || isMaster,
    Address: text('swarm-addr'),
    Discovery: discovery,
    Agent: isMember,
    Master: isMaster,
    Host: text('swarm-host'),
    Image: text('swarm-image'),
    Strategy: text('swarm-strategy'),
    Heartbeat: 0,
    Overcommit: 0,
    ArbitraryFlags: values['swarm-opt'] ?? [],
    ArbitraryJoinFlags: values['swarm-join-opt'] ?? [],
    Env: null,
    IsExperimental: values['swarm-experimental'] === true,
  };
}

/** Returns `tcp://ADDRESS:PORT` of a Swarm master. Throws if the machine is not a master. */
export function requireSwarmUrl(swarm: SwarmOptions | undefined, address: string, name: string): string {
  if (swarm?.Master !== true)
    throw new DockerMachineError(
      `Error: "${name}" is not a swarm master. The --swarm flag is intended for use with swarm masters`,
    );
  const port = /:(\d+)$/.exec(swarm.Host)?.[1] ?? '3376';
  return `tcp://${address}:${port}`;
}

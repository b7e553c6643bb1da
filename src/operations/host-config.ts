import type { LookupAddress } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Machine } from '../machine/model.ts';
import { type Certificates, serverCertificatesOf } from '../provision/certificates.ts';
import type { DaemonSettings } from '../provision/daemon-json.ts';
import type { Facts } from '../provision/facts.ts';
import type { PlanInput } from '../provision/plan.ts';
import { loadHostLifetime } from './lifetime.ts';
import type { World } from './world.ts';

type HostConfigInput = {
  readonly machine: Pick<Machine, 'spec' | 'deadline'>;
  readonly engineSettings: DaemonSettings;
  readonly address: string;
  readonly certificates: Certificates;
  /** Missing before the host exists. */
  readonly facts?: Facts;
};

/**
 * Returns an address of a host that is given by a name which has only IPv6 addresses; undefined for any other host. A
 * name that can't be looked up here belongs to a host behind a jump host.
 */
export async function findOnlyIpv6Address(
  host: string,
  lookupAll: (name: string) => Promise<readonly LookupAddress[]> = async (name) => lookup(name, { all: true }),
): Promise<string | undefined> {
  if (isIP(host) !== 0) return undefined;
  const found = await lookupAll(host).catch(() => []);
  return found.some(({ family }) => family === 4) ? undefined : found[0]?.address;
}

/** Collects the input of a host's plan except its facts: the spec, certificates, and lifetime. */
export async function loadHostConfig(
  { machine, engineSettings, address, certificates, facts }: HostConfigInput,
  world: World,
): Promise<Omit<PlanInput, 'facts'>> {
  const { id, name, engine } = machine.spec;
  const ipv6Address = await findOnlyIpv6Address(address);
  return {
    id,
    name,
    address,
    ...(ipv6Address === undefined ? {} : { ipv6Address }),
    engine,
    engineSettings,
    tls: serverCertificatesOf(certificates),
    lifetime: await loadHostLifetime(machine, world, facts),
  };
}

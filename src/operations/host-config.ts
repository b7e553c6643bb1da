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

/** Collects the input of a host's plan except its facts: the spec, certificates, and lifetime. */
export async function loadHostConfig(
  { machine, engineSettings, address, certificates, facts }: HostConfigInput,
  world: World,
): Promise<Omit<PlanInput, 'facts'>> {
  const { id, name, engine } = machine.spec;
  return {
    id,
    name,
    address,
    engine,
    engineSettings,
    tls: serverCertificatesOf(certificates),
    lifetime: await loadHostLifetime(machine, world, facts),
  };
}

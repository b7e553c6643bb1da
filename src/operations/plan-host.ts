import type { Machine } from '../machine/model.ts';
import { type Certificates, serverCertificatesOf } from '../provision/certificates.ts';
import type { Facts } from '../provision/facts.ts';
import { type PlanInput, planProvision } from '../provision/plan.ts';
import type { Plan } from '../provision/step.ts';
import { loadHostLifetime } from './lifetime.ts';
import type { World } from './world.ts';

/** Plans the steps that bring a host from the state in its facts to the state in the machine's spec. */
export async function planHost(
  planned: Pick<Machine, 'spec' | 'deadline'>,
  address: string,
  facts: Facts,
  certificates: Certificates,
  world: World,
): Promise<Plan> {
  return planProvision({ ...(await planInputFor(planned, address, certificates, world, facts)), facts });
}

/** Collects the input of a host's plan except its facts: the spec, certificates, and lifetime. */
export async function planInputFor(
  planned: Pick<Machine, 'spec' | 'deadline'>,
  address: string,
  certificates: Certificates,
  world: World,
  facts?: Facts,
): Promise<Omit<PlanInput, 'facts'>> {
  const { id, name, engine } = planned.spec;
  return {
    id,
    name,
    address,
    engine,
    tls: serverCertificatesOf(certificates),
    lifetime: await loadHostLifetime(planned, world, facts),
  };
}

import type { Boot, Driver, Target } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { firstKeys, makeCertificates, pinOf, storeCertificates } from './credentials.ts';
import { lifeOf } from './lifetime.ts';
import type { Machine } from '../machine/model.ts';
import { type Certificates, LOOPBACK, serverPart } from '../provision/certificates.ts';
import { filesForFirstStart } from '../provision/plan.ts';
import type { Step } from '../provision/step.ts';
import { callOf, type World } from './world.ts';

type Planned = Pick<Machine, 'spec' | 'deadline'>;

/** The making of a machine that gets its configuration before its first start, as `--dry-run` shows it. */
export async function firstStart(planned: Planned, driver: Driver, world: World): Promise<Step> {
  const { spec } = planned;
  const given = Object.entries(targetOf(driver, spec).options).filter(([, value]) => value !== undefined);
  return {
    id: 'create',
    title: `Create ${spec.name} (${driver.name}), with these files laid before its first start`,
    template: '',
    variables: Object.fromEntries(given.map(([key, value]) => [key.replaceAll(/[A-Z]/g, '_$&'), String(value)])),
    files: driver.bootIsReadable ? [] : await laidFirst(planned, await makeCertificates(spec, LOOPBACK, world), world),
  };
}

/** What the engine and the SSH server of a new machine start with: made here, kept here, the same at every try. */
export async function bootOf(
  machine: Planned,
  { bootIsReadable: readable = false }: Driver,
  world: World,
): Promise<Boot> {
  const { spec } = machine;
  const { login, host } = await firstKeys(spec.name, readable, world);
  return {
    authorizedKey: login.public,
    hostKey: { private: host.private, public: pinOf(host.public) },
    enginePort: spec.engine.port,
    files: readable ? [] : await filesOfFirstStart(machine, world),
  };
}

async function filesOfFirstStart(machine: Planned, world: World): Promise<Boot['files']> {
  const { spec } = machine;
  const certificates = await makeCertificates(spec, LOOPBACK, world);
  await storeCertificates(certificates, world.store.paths(spec.name));
  return await laidFirst(machine, certificates, world);
}

export async function laidFirst(machine: Planned, certificates: Certificates, world: World): Promise<Boot['files']> {
  const { spec } = machine;
  return filesForFirstStart({
    id: spec.id,
    name: spec.name,
    address: LOOPBACK,
    engine: spec.engine,
    tls: serverPart(certificates),
    dropInTemplate: await world.template('slipway.conf'),
    life: await lifeOf(machine, world),
  });
}

export async function waitForStart(
  { phase, spec: { name } }: Machine,
  driver: Driver,
  target: Target<Record<string, unknown>>,
  world: World,
): Promise<void> {
  if (!driver.booted) return;
  await world.progress
    .step('boot', `Wait for ${name} to start`, async (log) => driver.booted?.(target, callOf(world, log)))
    .catch((error: unknown) => {
      if (!(error instanceof SlipwayError) || error.code !== 'BOOT_FAILED') throw error;
      const { code, message, detail, cause } = error;
      // What is on the disk of one that was ready must not be lost by following a hint.
      const next =
        phase === 'ready'
          ? `Try again: slipway restart ${name}`
          : `Try again: slipway create ${name}, or undo it: slipway rm ${name}`;
      throw new SlipwayError(code, message, { hint: `${next}. ${error.hint ?? ''}`.trim(), detail, cause });
    });
}

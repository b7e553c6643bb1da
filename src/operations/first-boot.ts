import type { FirstBootConfig, Driver, DriverManifest, Target } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { ensureFirstBootKeys, loadOrRenewCertificates, stripKeyComment, storeCertificates } from './credentials.ts';
import { loadHostLifetime } from './lifetime.ts';
import type { Machine } from '../machine/model.ts';
import { type Certificates, LOOPBACK, serverCertificatesOf } from '../provision/certificates.ts';
import { firstBootFilesFor } from '../provision/plan.ts';
import type { Step } from '../provision/step.ts';
import { driverCallFor, type World } from './world.ts';

type PlannedMachine = Pick<Machine, 'spec' | 'deadline'>;

/** The making of a machine that gets its configuration before its first start, as `--dry-run` shows it. */
export async function planCreateStep(planned: PlannedMachine, driver: DriverManifest, world: World): Promise<Step> {
  const { spec } = planned;
  const given = Object.entries(targetOf(driver, spec).options).filter(([, value]) => value !== undefined);
  return {
    id: 'create',
    title: `Create ${spec.name} (${driver.name}), with these files laid before its first start`,
    template: '',
    variables: Object.fromEntries(given.map(([key, value]) => [key.replaceAll(/[A-Z]/g, '_$&'), String(value)])),
    files: driver.userDataIsPublic
      ? []
      : await renderFirstBootFiles(planned, await loadOrRenewCertificates(spec, LOOPBACK, world), world),
  };
}

/** What the engine and the SSH server of a new machine start with: made here, kept here, the same at every try. */
export async function createFirstBootConfig(
  machine: PlannedMachine,
  { userDataIsPublic: readable = false }: DriverManifest,
  world: World,
): Promise<FirstBootConfig> {
  const { spec } = machine;
  const { login, host } = await ensureFirstBootKeys(spec.name, readable, world);
  return {
    authorizedKey: login.public,
    hostKey: { private: host.private, public: stripKeyComment(host.public) },
    enginePort: spec.engine.port,
    files: readable ? [] : await prepareFirstBootFiles(machine, world),
  };
}

async function prepareFirstBootFiles(machine: PlannedMachine, world: World): Promise<FirstBootConfig['files']> {
  const { spec } = machine;
  const certificates = await loadOrRenewCertificates(spec, LOOPBACK, world);
  await storeCertificates(certificates, world.store.paths(spec.name));
  return await renderFirstBootFiles(machine, certificates, world);
}

export async function renderFirstBootFiles(
  machine: PlannedMachine,
  certificates: Certificates,
  world: World,
): Promise<FirstBootConfig['files']> {
  const { spec } = machine;
  return firstBootFilesFor({
    id: spec.id,
    name: spec.name,
    address: LOOPBACK,
    engine: spec.engine,
    tls: serverCertificatesOf(certificates),
    dropInTemplate: await world.readTemplate('slipway.conf'),
    lifetime: await loadHostLifetime(machine, world),
  });
}

export async function waitForBoot(
  { phase, spec: { name } }: Machine,
  driver: Driver,
  target: Target<Record<string, unknown>>,
  world: World,
): Promise<void> {
  if (!driver.machines.waitUntilBooted) return;
  await world.progress
    .step('boot', `Wait for ${name} to start`, async (log) =>
      driver.machines.waitUntilBooted?.(target, driverCallFor(world, log)),
    )
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

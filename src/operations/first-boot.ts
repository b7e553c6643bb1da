import type { FirstBootConfig, Driver, DriverManifest, Target } from '../drivers/contract.ts';
import { SlipwayError } from '../errors.ts';
import { ensureFirstBootKeys, loadOrRenewCertificates, stripKeyComment, storeCertificates } from './credentials.ts';
import type { Machine } from '../machine/model.ts';
import { type Certificates, LOOPBACK } from '../provision/certificates.ts';
import { firstBootFilesFor } from '../provision/plan.ts';
import { planInputFor } from './plan-host.ts';
import { driverCallFor, type World } from './world.ts';

type PlannedMachine = Pick<Machine, 'spec' | 'deadline'>;

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
  return firstBootFilesFor(await planInputFor(machine, LOOPBACK, certificates, world));
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

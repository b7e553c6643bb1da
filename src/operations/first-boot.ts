import type { FirstBootConfig, Driver, DriverManifest, Target } from '../drivers/contract.ts';
import { SlipwayError } from '../errors.ts';
import { ensureFirstBootKeys, loadOrRenewCertificates, stripKeyComment, storeCertificates } from './credentials.ts';
import type { Machine } from '../machine/model.ts';
import { continueOrUndoHint } from '../machine/require-machine.ts';
import { type Certificates, LOOPBACK } from '../provision/certificates.ts';
import type { DaemonSettings } from '../provision/daemon-json.ts';
import { firstBootFilesFor, firstBootTimersFor } from '../provision/plan.ts';
import { loadHostConfig } from './host-config.ts';
import { loadHostLifetime } from './lifetime.ts';
import { driverCallFor, type World } from './world.ts';

type PlannedMachine = Pick<Machine, 'spec' | 'deadline'>;

/**
 * Returns the configuration with which the engine and the SSH server of a new machine start. Creates keys and
 * certificates on this computer and stores them before use, so that every retry uses the same. If others can read the
 * user data, its files are only the timers: a machine that nobody visits, because `create` was killed, still ends.
 */
export async function createFirstBootConfig(
  machine: PlannedMachine,
  engineSettings: DaemonSettings,
  { userDataIsPublic = false }: DriverManifest,
  world: World,
): Promise<FirstBootConfig> {
  const { spec } = machine;
  const { login, host } = await ensureFirstBootKeys(spec.name, userDataIsPublic, world);
  return {
    authorizedKey: login.public,
    hostKey: { private: host.private, public: stripKeyComment(host.public) },
    enginePort: spec.engine.port,
    ...(userDataIsPublic
      ? await renderFirstBootTimers(machine, world)
      : { files: await prepareFirstBootFiles(machine, engineSettings, world) }),
  };
}

/** Renders the timers that a machine has from its first boot on where others can read its user data. */
export async function renderFirstBootTimers(
  machine: PlannedMachine,
  world: World,
): Promise<Pick<FirstBootConfig, 'files' | 'commands'>> {
  const lifetime = await loadHostLifetime(machine, world);
  return lifetime ? firstBootTimersFor(lifetime) : { files: [] };
}

async function prepareFirstBootFiles(
  machine: PlannedMachine,
  engineSettings: DaemonSettings,
  world: World,
): Promise<FirstBootConfig['files']> {
  const { spec } = machine;
  const certificates = await loadOrRenewCertificates(spec, LOOPBACK, world);
  await storeCertificates(certificates, world.store.paths(spec.name));
  return await renderFirstBootFiles(machine, engineSettings, certificates, world);
}

/** Renders the files that a machine has before its first start: the engine's configuration, certificates and timers. */
export async function renderFirstBootFiles(
  machine: PlannedMachine,
  engineSettings: DaemonSettings,
  certificates: Certificates,
  world: World,
): Promise<FirstBootConfig['files']> {
  return firstBootFilesFor(await loadHostConfig({ machine, engineSettings, address: LOOPBACK, certificates }, world));
}

/** Waits, as a step, until the machine has booted. Adds to a boot failure what to type next. */
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
      // A ready machine has data on its disk, so the hint must not lead to its removal.
      const next = phase === 'ready' ? `To try again: slipway restart ${name}` : continueOrUndoHint(name);
      throw new SlipwayError(code, message, { hint: `${next}. ${error.hint ?? ''}`.trim(), detail, cause });
    });
}

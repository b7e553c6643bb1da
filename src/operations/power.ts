import { loadCode, type Driver, type InstanceStatus, type Target } from '../drivers/contract.ts';
import { drivers, loadDriver, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { tagExisting } from './tag-existing.ts';
import { loadClientCertificates } from './credentials.ts';
import type { CreatedMachine, Machine, ReadyMachine } from '../machine/model.ts';
import { requireReady } from '../machine/require-machine.ts';
import { engineSettingsOf } from '../provision/daemon-json.ts';
import { waitForBoot } from './first-boot.ts';
import { allowCallerIp } from './allow-caller-ip.ts';
import { finishProvision } from './client-profiles.ts';
import { requireActionSupported, requireNoPendingRestart, requireNotEnded } from './guards.ts';
import { START_RETRY } from './host-session.ts';
import { lifetimeFieldsOf } from './lifetime.ts';
import { provisionHost } from './provision.ts';
import { resolveHost } from './resolve-host.ts';
import { ENGINE_TIMEOUT_SECONDS, endpointOf, verifyEndpoint } from './verify-engine.ts';
import { rebootHost } from './reboot.ts';
import { withFailureRecord, type SaveCheckpoint } from './checkpoint.ts';
import { driverCallFor, type World } from './world.ts';

/** Starts a stopped machine and waits until its engine answers. Its address may change. */
export async function startMachine(name: string, world: World): Promise<ReadyMachine> {
  return await runPowerAction(name, 'start', world, async (machine, driver, target) => {
    requireNotEnded(machine, world.now());
    const wasRunning = (await driver.machines.inspect(target, driverCallFor(world, world.debug))).state === 'running';
    await world.progress.step('start', `Start ${name}`, async (log) =>
      driver.power?.start(target, driverCallFor(world, log)),
    );
    await allowCallerIp(driver, target, world);
    await waitForBoot(machine, driver, target, world).catch((error: unknown) => {
      // The boot failure of a running machine may be an old one that was fixed since, so only its engine matters.
      if (!wasRunning || !(error instanceof SlipwayError) || error.code !== 'BOOT_FAILED') throw error;
      world.progress.note(error.message);
    });
    return await withFailureRecord(machine, world, (save) => reconnectMachine(machine, driver, world, save));
  });
}

export async function stopMachine(name: string, seconds: number, world: World, restarts = false): Promise<void> {
  await runPowerAction(name, 'stop', world, async (_machine, driver, target) => {
    await world.progress.step('stop', `Stop ${name}`, async (log) =>
      driver.power?.stop(target, { seconds, restarts }, driverCallFor(world, log)),
    );
    await world.links?.end(name);
  });
}

/** Stops a machine and keeps its memory, so that `start` resumes it. */
export async function suspendMachine(name: string, world: World): Promise<void> {
  await runPowerAction(name, 'suspend', world, async (machine, driver, target) => {
    requireNoPendingRestart(machine);
    await world.progress.step('suspend', `Suspend ${name}`, async (log) =>
      driver.power?.suspend?.(target, driverCallFor(world, log)),
    );
    await world.links?.end(name);
  });
}

export async function killMachine(name: string, world: World): Promise<void> {
  await runPowerAction(name, 'kill', world, async (_machine, driver, target) => {
    await world.progress.step('kill', `Kill ${name}`, async (log) =>
      driver.power?.kill(target, driverCallFor(world, log)),
    );
    await world.links?.end(name);
  });
}

/**
 * Stops a machine and starts it again with its driver. A host that the driver can't start is rebooted over SSH.
 */
export async function restartMachine(name: string, seconds: number, world: World): Promise<ReadyMachine> {
  const { store } = world;
  const before = await store.read(name);
  // Checked before the machine is stopped.
  requireNotEnded(before, world.now());
  if ((await loadDriver(before.spec.driver)).power) {
    await stopMachine(name, seconds, world, true);
    return await startMachine(name, world);
  }
  requireActionSupported('restart', before.phase !== 'ready' || before.host.ssh !== undefined, before);
  await using _lock = await store.lock(name);
  const machine = requireReady(await store.read(name));
  const driver = await loadDriver(machine.spec.driver);
  const { ssh } = await resolveHost(machine, driver, world);
  if (!ssh) throw new Error(`driver ${driver.name} returned no SSH address for a machine that had one`);
  await rebootHost(machine, ssh, world);
  return await withFailureRecord(machine, world, (save) => reconnectMachine(machine, driver, world, save));
}

/**
 * Returns a machine's state at its driver; undefined if the driver created nothing, or does not exist in this version.
 */
export async function inspectMachine(
  machine: Machine,
  world: Pick<World, 'computer' | 'debug' | 'signal'>,
): Promise<InstanceStatus | undefined> {
  const { spec } = machine;
  const manifest = drivers.find(({ name }) => name === spec.driver);
  const { computer, debug, signal } = world;
  if (!manifest || manifest.kind === 'existing') return undefined;
  const driver = await loadCode(manifest);
  return await driver.machines.inspect(targetOf(driver, spec, machine), { computer, log: debug, note: debug, signal });
}

/** Connects to a machine's engine again after a start, perhaps at another address. */
export async function reconnectMachine(
  machine: ReadyMachine,
  driver: Driver,
  world: World,
  save: SaveCheckpoint,
): Promise<ReadyMachine> {
  const { spec } = machine;
  const host = await resolveHost(machine, driver, world);
  const created: CreatedMachine = { version: 1, phase: 'created', spec, host, ...lifetimeFieldsOf(machine) };
  // The certificate names the address, so a new address needs a visit; so does a deadline that the host does not have
  // yet.
  if (host.ssh && (host.address !== machine.host.address || machine.deadlinePending)) {
    const verified = await provisionHost(
      { ...created, host },
      { machine, engineSettings: engineSettingsOf(spec.engine), retry: START_RETRY, save },
      world,
    );
    return await finishProvision(verified, world, save);
  }
  const endpoint = endpointOf(created);
  const tls = await loadClientCertificates(machine, world.store);
  await verifyEndpoint(endpoint, tls, ENGINE_TIMEOUT_SECONDS, world);
  const ready: ReadyMachine = { version: 1, phase: 'ready', spec, host, endpoint, ...lifetimeFieldsOf(machine) };
  return await finishProvision({ machine: ready, tls: endpoint.tls ? tls : undefined }, world, save);
}

/** Runs a power action under the machine's lock, if its driver supports the action and the machine is ready. */
async function runPowerAction<T>(
  name: string,
  verb: 'start' | 'stop' | 'kill' | 'suspend',
  world: World,
  work: (machine: ReadyMachine, driver: Driver, target: Target<Record<string, unknown>>) => Promise<T>,
): Promise<T> {
  const { store } = world;
  await store.read(name);
  await using _lock = await store.lock(name);
  const found = await store.read(name);
  const driver = await loadDriver(found.spec.driver);
  requireActionSupported(verb, driver.power?.[verb] !== undefined, found);
  const machine = await tagExisting(requireReady(found), world);
  return await work(machine, driver, targetOf(driver, machine.spec, machine));
}

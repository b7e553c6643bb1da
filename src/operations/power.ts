import type { Driver, Instance, Target } from '../drivers/contract.ts';
import { driverNamed, drivers, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { adopted } from './tag-existing.ts';
import { clientCertificates } from './credentials.ts';
import type { Created, Machine, Ready } from '../machine/model.ts';
import { verifyEngine } from '../provision/engine-api.ts';
import { waitForStart } from './first-boot.ts';
import { hostOf, START } from './host-session.ts';
import { lasting, refuseEnded } from './lifetime.ts';
import { admit, endpointOf, ENGINE_SECONDS, finish, provisionHost } from './provision.ts';
import { rebootHost } from './reboot.ts';
import { recordingFailure, type Save } from './checkpoint.ts';
import { callOf, type World } from './world.ts';

/** Starts a machine that is stopped, and does not end before its engine answers; its address may be another by then. */
export async function startMachine(name: string, world: World): Promise<Ready> {
  return await changeRun(name, 'start', world, async (machine, driver, target) => {
    refuseEnded(machine, world.now());
    const ran = (await driver.inspect(target, callOf(world, world.debug))).state === 'running';
    await world.progress.step('start', `Start ${name}`, async (log) => driver.start?.(target, callOf(world, log)));
    await admit(driver, target, world);
    await waitForStart(machine, driver, target, world).catch((error: unknown) => {
      // What one that ran said when it started may be mended since: its engine decides.
      if (!ran || !(error instanceof SlipwayError) || error.code !== 'BOOT_FAILED') throw error;
      world.progress.note(error.message);
    });
    return await recordingFailure(machine, world, (save) => reach(machine, driver, world, save));
  });
}

export async function stopMachine(name: string, seconds: number, world: World): Promise<void> {
  await changeRun(name, 'stop', world, async (_machine, driver, target) =>
    world.progress.step('stop', `Stop ${name}`, async (log) => driver.stop?.(target, { seconds }, callOf(world, log))),
  );
}

/** Ends a machine and keeps its memory, so that `start` goes on where it was. */
export async function suspendMachine(name: string, world: World): Promise<void> {
  await changeRun(name, 'suspend', world, async (machine, driver, target) => {
    if (machine.due !== undefined) {
      throw new SlipwayError(
        'USAGE',
        `"${name}" has options that it takes when it starts, so it can’t be suspended now`,
        {
          hint: `Let it take them first: slipway restart ${name}`,
        },
      );
    }
    await world.progress.step('suspend', `Suspend ${name}`, async (log) =>
      driver.suspend?.(target, callOf(world, log)),
    );
  });
}

export async function killMachine(name: string, world: World): Promise<void> {
  await changeRun(name, 'kill', world, async (_machine, driver, target) =>
    world.progress.step('kill', `Kill ${name}`, async (log) => driver.kill?.(target, callOf(world, log))),
  );
}

/**
 * Ends a machine and starts it again, by its driver; a host that nobody here can start, and that lets us in over SSH, is told to
 * boot by itself.
 */
export async function restartMachine(name: string, seconds: number, world: World): Promise<Ready> {
  const { store } = world;
  const before = await store.read(name);
  // Refused now, and not when it is stopped already.
  refuseEnded(before, world.now());
  const { start, stop } = driverNamed(before.spec.driver);
  if (start && stop) {
    await stopMachine(name, seconds, world);
    return await startMachine(name, world);
  }
  if (before.phase === 'ready' && !before.host.ssh) throw cannot('restart', before);
  await using _lock = await store.lock(name);
  const machine = finished(await store.read(name));
  const driver = driverNamed(machine.spec.driver);
  const { ssh } = await hostOf(machine, driver, world);
  if (!ssh) throw cannot('restart', machine);
  await rebootHost(machine, ssh, world);
  return await recordingFailure(machine, world, (save) => reach(machine, driver, world, save));
}

/** How its driver sees a machine; undefined where the driver made nothing and so knows nothing, or is not in this version. */
export async function inspectMachine(
  machine: Machine,
  world: Pick<World, 'computer' | 'debug' | 'signal'>,
): Promise<Instance | undefined> {
  const { spec } = machine;
  const driver = drivers.find(({ name }) => name === spec.driver);
  const { computer, debug, signal } = world;
  if (!driver?.create) return undefined;
  return await driver.inspect(targetOf(driver, spec, machine), { computer, log: debug, note: debug, signal });
}

/** After a start: the same engine, perhaps at another address. */
export async function reach(machine: Ready, driver: Driver, world: World, save: Save): Promise<Ready> {
  const { spec } = machine;
  const host = await hostOf(machine, driver, world);
  const created: Created = { version: 1, phase: 'created', spec, host, ...lasting(machine) };
  // Its certificate names the address: a new one needs a visit, and so does a deadline of which it has not heard.
  if (host.ssh && (host.address !== machine.host.address || machine.untold))
    return await finish(await provisionHost({ ...created, host }, machine, START, world, save), world, save);
  const endpoint = endpointOf(created);
  const tls = await clientCertificates(machine, world.store);
  await world.progress.step('verify', `Verify the engine at ${endpoint.url}`, () =>
    verifyEngine(endpoint, tls, { signal: world.signal, seconds: ENGINE_SECONDS }),
  );
  return await finish({ version: 1, phase: 'ready', spec, host, endpoint, ...lasting(machine) }, world, save);
}

/** What start, stop and kill share: the lock, the record, and whether the driver can. */
async function changeRun<T>(
  name: string,
  verb: 'start' | 'stop' | 'kill' | 'suspend',
  world: World,
  work: (machine: Ready, driver: Driver, target: Target<Record<string, unknown>>) => Promise<T>,
): Promise<T> {
  const { store } = world;
  await store.read(name);
  await using _lock = await store.lock(name);
  const found = await store.read(name);
  const driver = driverNamed(found.spec.driver);
  if (!driver[verb]) throw cannot(verb, found);
  const machine = await adopted(finished(found), world);
  return await work(machine, driver, targetOf(driver, machine.spec));
}

function cannot(verb: string, { spec: { name, driver } }: Machine): SlipwayError {
  return new SlipwayError('DRIVER_UNSUPPORTED', `Slipway can't ${verb} "${name}": its driver is ${driver}`, {
    hint: `Use its provider's own tools; slipway status ${name} shows how it is`,
  });
}

function finished(machine: Machine): Ready {
  if (machine.phase === 'ready') return machine;
  const { name } = machine.spec;
  throw new SlipwayError('MACHINE_NOT_READY', `The making of "${name}" was stopped before its end`, {
    hint: `Finish it: slipway create ${name}, or undo it: slipway rm ${name}`,
  });
}

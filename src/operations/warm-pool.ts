import { randomUUID } from 'node:crypto';
import type { Boot, Driver, Spare } from '../drivers/contract.ts';
import { drivers, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import type { Machine, MachineSpec } from '../machine/model.ts';
import { LOOPBACK, renewCertificates, serverNames } from '../provision/certificates.ts';
import { laidFirst } from './first-boot.ts';
import { pinOf, storeKeys, type Keys } from './credentials.ts';
import { callOf, type World } from './world.ts';

/**
 * A machine whose VM is not begun gets one that is ready, with the keys that are in it. Stopped anywhere, the next create goes on from
 * there: the driver tells of it until its own `create` has ended.
 */
export async function takeSpare(machine: Machine, driver: Driver, world: World): Promise<void> {
  if (machine.phase !== 'creating' || !driver.spares) return;
  const { spec } = machine;
  const kept = await driver.spares.take(targetOf(driver, spec, machine), callOf(world, world.debug));
  if (kept !== undefined) await storeKeys(JSON.parse(kept) as Keys, world.store.paths(spec.name));
}

/** For the next machine of this kind. That there is none is no reason for this one to fail. */
export async function leaveSpare({ spec }: Machine, driver: Driver, world: World): Promise<void> {
  if (!world.leaveSpare || !driver.spares) return;
  try {
    if (await driver.spares.wanted(targetOf(driver, spec), callOf(world, world.debug))) await world.leaveSpare(spec);
  } catch (error) {
    world.debug(`no spare is left: ${String(error)}`);
  }
}

/** Makes as many as are missing of so many, one after the other and as long as they are wanted `still`, and returns how many those were. */
export async function makeSpares(
  {
    kind,
    count,
    still,
  }: { readonly kind: MachineSpec; readonly count: number; readonly still: () => Promise<boolean> },
  driver: Driver,
  world: World,
): Promise<number> {
  const { spares } = driver;
  if (!spares) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `The driver ${driver.name} makes no machines ahead`, {
      hint: 'See which does: slipway drivers',
    });
  }
  const { progress } = world;
  const call = callOf(world, world.debug);
  if (!(await still())) return 0;
  await driver.check?.(targetOf(driver, kind), call);
  await progress.step('prepare', 'Prepare the image', async (log) =>
    driver.prepare?.(targetOf(driver, kind), callOf(world, log)),
  );
  await using _lock = await spares.lock(call);
  let made = 0;
  while ((await still()) && (await spares.ready(targetOf(driver, kind), call)) < count) {
    const why = await spares.unable(targetOf(driver, kind), call);
    if (why !== undefined) {
      throw new SlipwayError('DRIVER_UNSUPPORTED', `No spare machine can be made: ${why}`, {
        hint: 'Machines start cold without one',
      });
    }
    made += 1;
    await progress.step('spare', `Make a spare machine (${made})`, async (log) => {
      const { spec, keys, boot } = await born(kind, world);
      await spares.make(targetOf(driver, spec), boot, JSON.stringify(keys), callOf(world, log));
    });
  }
  return made;
}

/** A machine of that kind with all that is its own. */
async function born(kind: MachineSpec, world: World): Promise<{ spec: MachineSpec; keys: Keys; boot: Boot }> {
  const id = randomUUID();
  const spec: MachineSpec = { ...kind, id, name: `spare-${id.slice(0, 8)}` };
  const names = serverNames(spec.name, LOOPBACK, spec.engine.tlsSan);
  const [login, host, certificates] = await Promise.all([
    world.newKeyPair('slipway'),
    world.newKeyPair('host'),
    renewCertificates({}, { name: spec.name, names, now: world.now() }),
  ]);
  const boot: Boot = {
    authorizedKey: login.public,
    hostKey: { private: host.private, public: pinOf(host.public) },
    enginePort: spec.engine.port,
    files: await laidFirst({ spec }, certificates, world),
  };
  return { spec, keys: { login, host, certificates }, boot };
}

/** All that are ready on this computer. */
export async function listSpares({ computer }: Pick<World, 'computer'>): Promise<readonly Spare[]> {
  const each = await Promise.all(drivers.map(({ spares }) => spares?.list(computer) ?? []));
  return each.flat();
}

/** Removes those of an image, or all. */
export async function pruneSpares(image: string | undefined, world: World): Promise<readonly Spare[]> {
  const each = [];
  for (const { spares } of drivers) each.push((await spares?.prune(image, callOf(world, world.debug))) ?? []);
  return each.flat();
}

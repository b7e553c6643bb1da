import { randomUUID } from 'node:crypto';
import { loadCode, type FirstBootConfig, type Driver, type SpareSummary, type WarmPool } from '../drivers/contract.ts';
import { drivers, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import type { Machine, MachineSpec } from '../machine/model.ts';
import { LOOPBACK, renewCertificates, serverSubjectAltNames } from '../provision/certificates.ts';
import { renderFirstBootFiles } from './first-boot.ts';
import { stripKeyComment, storeMachineKeys, type MachineKeys } from './credentials.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * A machine whose VM is not begun gets one that is ready, with the keys that are in it. Stopped anywhere, the next create goes on from
 * there: the driver tells of it until its own `create` has ended.
 */
export async function takeSpare(machine: Machine, driver: Driver, world: World): Promise<void> {
  if (machine.phase !== 'creating' || !driver.warmPool) return;
  const { spec } = machine;
  const kept = await driver.warmPool.take(targetOf(driver, spec, machine), driverCallFor(world, world.debug));
  if (kept !== undefined) await storeMachineKeys(JSON.parse(kept) as MachineKeys, world.store.paths(spec.name));
}

/** For the next machine of this kind. That there is none is no reason for this one to fail. */
export async function scheduleSpare({ spec }: Machine, driver: Driver, world: World): Promise<void> {
  if (!world.startSpareBuild || !driver.warmPool) return;
  try {
    if (await driver.warmPool.isWanted(targetOf(driver, spec), driverCallFor(world, world.debug)))
      await world.startSpareBuild(spec);
  } catch (error) {
    world.debug(`no spare is left: ${String(error)}`);
  }
}

/** Makes as many as are missing of so many, one after the other and as long as they are wanted `still`, and returns how many those were. */
export async function buildSpares(
  {
    kind,
    count,
    still,
  }: { readonly kind: MachineSpec; readonly count: number; readonly still: () => Promise<boolean> },
  driver: Driver,
  world: World,
): Promise<number> {
  const { warmPool } = driver;
  if (!warmPool) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `The driver ${driver.name} makes no machines ahead`, {
      hint: 'See which does: slipway drivers',
    });
  }
  const { progress } = world;
  const call = driverCallFor(world, world.debug);
  if (!(await still())) return 0;
  await driver.machines.validate?.(targetOf(driver, kind), call);
  await progress.step('prepare', 'Prepare the image', async (log) =>
    driver.machines.prepare?.(targetOf(driver, kind), driverCallFor(world, log)),
  );
  await using _lock = await warmPool.lock(call);
  let made = 0;
  while ((await still()) && (await warmPool.countReady(targetOf(driver, kind), call)) < count) {
    const why = await warmPool.findObstacle(targetOf(driver, kind), call);
    if (why !== undefined) {
      throw new SlipwayError('DRIVER_UNSUPPORTED', `No spare machine can be made: ${why}`, {
        hint: 'Machines start cold without one',
      });
    }
    made += 1;
    await progress.step('spare', `Make a spare machine (${made})`, async (log) => {
      const { spec, keys, boot } = await generateSpareConfig(kind, world);
      await warmPool.make(targetOf(driver, spec), boot, JSON.stringify(keys), driverCallFor(world, log));
    });
  }
  return made;
}

/** A machine of that kind with all that is its own. */
async function generateSpareConfig(
  kind: MachineSpec,
  world: World,
): Promise<{ spec: MachineSpec; keys: MachineKeys; boot: FirstBootConfig }> {
  const id = randomUUID();
  const spec: MachineSpec = { ...kind, id, name: `spare-${id.slice(0, 8)}` };
  const names = serverSubjectAltNames(spec.name, LOOPBACK, spec.engine.tlsSan);
  const [login, host, certificates] = await Promise.all([
    world.newKeyPair('slipway'),
    world.newKeyPair('host'),
    renewCertificates({}, { name: spec.name, names, now: world.now() }),
  ]);
  const boot: FirstBootConfig = {
    authorizedKey: login.public,
    hostKey: { private: host.private, public: stripKeyComment(host.public) },
    enginePort: spec.engine.port,
    files: await renderFirstBootFiles({ spec }, certificates, world),
  };
  return { spec, keys: { login, host, certificates }, boot };
}

async function loadWarmPools(): Promise<readonly WarmPool<Record<string, unknown>>[]> {
  const loaded = await Promise.all(drivers.filter(({ kind }) => kind === 'local').map(loadCode));
  return loaded.flatMap(({ warmPool }) => warmPool ?? []);
}

/** All that are ready on this computer. */
export async function listSpares({ computer }: Pick<World, 'computer'>): Promise<readonly SpareSummary[]> {
  const each = await Promise.all((await loadWarmPools()).map((warmPool) => warmPool.list(computer)));
  return each.flat();
}

/** Removes those of an image, or all. */
export async function pruneSpares(image: string | undefined, world: World): Promise<readonly SpareSummary[]> {
  const each = [];
  for (const warmPool of await loadWarmPools())
    each.push(await warmPool.prune(image, driverCallFor(world, world.debug)));
  return each.flat();
}

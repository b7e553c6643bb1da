import { randomUUID } from 'node:crypto';
import { loadCode, type FirstBootConfig, type Driver, type SpareSummary, type WarmPool } from '../drivers/contract.ts';
import { drivers, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import type { Machine, MachineSpec } from '../machine/model.ts';
import { LOOPBACK, renewCertificates, serverSubjectAltNames } from '../provision/certificates.ts';
import { engineSettingsOf, type DaemonSettings } from '../provision/daemon-json.ts';
import { renderFirstBootFiles } from './first-boot.ts';
import { stripKeyComment, storeMachineKeys, type MachineKeys } from './credentials.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * Gives a machine whose VM does not exist yet a spare, and stores the keys that the spare was started with. After an
 * interruption the next create continues: the driver returns the same spare until its own `create` has ended.
 */
export async function takeSpare(machine: Machine, driver: Driver, world: World): Promise<void> {
  if (machine.phase !== 'creating' || !driver.warmPool) return;
  const { spec } = machine;
  const storedKeys = await driver.warmPool.take(targetOf(driver, spec, machine), driverCallFor(world, world.debug));
  if (storedKeys !== undefined)
    await storeMachineKeys(JSON.parse(storedKeys) as MachineKeys, world.store.paths(spec.name));
}

/** Starts to build a spare for the next machine of this kind. A failure does not affect this machine. */
export async function scheduleSpare({ spec }: Machine, driver: Driver, world: World): Promise<void> {
  if (!world.startSpareBuild || !driver.warmPool) return;
  try {
    if (await driver.warmPool.isWanted(targetOf(driver, spec), driverCallFor(world, world.debug)))
      await world.startSpareBuild(spec);
  } catch (error) {
    world.debug(`no spare is built: ${String(error)}`);
  }
}

/**
 * Builds spares, one after the other, until `count` are ready or `isWanted` returns false. Returns the number of spares
 * built.
 */
export async function buildSpares(
  {
    kind,
    count,
    isWanted,
  }: { readonly kind: MachineSpec; readonly count: number; readonly isWanted: () => Promise<boolean> },
  driver: Driver,
  world: World,
): Promise<number> {
  const { warmPool } = driver;
  if (!warmPool) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `The driver ${driver.name} does not support spare machines`, {
      hint: 'To see which drivers do: slipway drivers',
    });
  }
  const { progress } = world;
  const call = driverCallFor(world, world.debug);
  if (!(await isWanted())) return 0;
  const engineSettings = engineSettingsOf(kind.engine);
  await driver.machines.validate?.(targetOf(driver, kind), call);
  await progress.step('prepare', 'Prepare the image', async (log) =>
    driver.machines.prepare?.(targetOf(driver, kind), driverCallFor(world, log)),
  );
  await using _lock = await warmPool.lock(call);
  let built = 0;
  while ((await isWanted()) && (await warmPool.countReady(targetOf(driver, kind), call)) < count) {
    const obstacle = await warmPool.findObstacle(targetOf(driver, kind), call);
    if (obstacle !== undefined) {
      throw new SlipwayError('DRIVER_UNSUPPORTED', `No spare machine can be created: ${obstacle}`, {
        hint: 'Without spares, machines boot when you create them',
      });
    }
    built += 1;
    await progress.step('spare', `Create a spare machine (${built})`, async (log) => {
      const { spec, keys, boot } = await generateSpareConfig(kind, engineSettings, world);
      await warmPool.make(targetOf(driver, spec), boot, JSON.stringify(keys), driverCallFor(world, log));
    });
  }
  return built;
}

/** Generates a spare of this kind, with an id, keys and certificates of its own. */
async function generateSpareConfig(
  kind: MachineSpec,
  engineSettings: DaemonSettings,
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
    files: await renderFirstBootFiles({ spec }, engineSettings, certificates, world),
  };
  return { spec, keys: { login, host, certificates }, boot };
}

async function loadWarmPools(): Promise<readonly WarmPool<Record<string, unknown>>[]> {
  const loaded = await Promise.all(drivers.filter(({ kind }) => kind === 'local').map(loadCode));
  return loaded.flatMap(({ warmPool }) => warmPool ?? []);
}

/** Lists the spares that are ready on this computer. */
export async function listSpares({ computer }: Pick<World, 'computer'>): Promise<readonly SpareSummary[]> {
  const each = await Promise.all((await loadWarmPools()).map((warmPool) => warmPool.list(computer)));
  return each.flat();
}

/** Removes the spares of an image, or all of them, and returns what it has removed. */
export async function pruneSpares(image: string | undefined, world: World): Promise<readonly SpareSummary[]> {
  const each = [];
  for (const warmPool of await loadWarmPools())
    each.push(await warmPool.prune(image, driverCallFor(world, world.debug)));
  return each.flat();
}

import { setTimeout as sleep } from 'node:timers/promises';
import { alreadyExistsError, lastPathSegment, PROJECT } from './compute-catalog.ts';
import { removeFrom, type GceInstance, type GceWorld, type InstanceProperties } from './gce-world.ts';

/** Returns the address of an instance: its static one, or else its guest's; undefined without external access. */
function addressFor({ properties }: GceInstance, guest: string): string | undefined {
  const [access] = properties.networkInterfaces?.[0]?.accessConfigs ?? [];
  return access === undefined ? undefined : (access.natIP ?? guest);
}

export function newInstance(world: GceWorld, name: string, zone: string, properties: InstanceProperties): GceInstance {
  return {
    name,
    place: zone,
    made: Date.now(),
    properties,
    status: 'PROVISIONING',
    labels: properties.labels ?? {},
    tags: properties.tags?.items ?? [],
    metadata: properties.metadata?.items ?? [],
    guestAttributes: undefined,
    isReady: false,
    guest: undefined,
    address: undefined,
    internalIp: `10.128.0.${(world.nextNumber() % 250) + 2}`,
  };
}

/** Creates instances, each with a disk of its name. They exist from now on, although they may show late. */
export function insert(
  world: GceWorld,
  names: readonly string[],
  zone: string,
  properties: InstanceProperties,
): readonly GceInstance[] {
  for (const name of names)
    if (world.instances.some((one) => one.name === name && one.place === zone))
      throw alreadyExistsError(`projects/${PROJECT}/zones/${zone}/instances/${name}`);
  return names.map((name) => {
    const [disk] = properties.disks ?? [];
    const { diskSizeGb = '10', diskType = 'pd-standard', labels = {} } = disk?.initializeParams ?? {};
    const one = newInstance(world, name, zone, properties);
    world.instances.push(one);
    world.disks.push({
      name,
      place: zone,
      made: one.made,
      type: lastPathSegment(diskType),
      sizeGb: diskSizeGb,
      labels,
      attachedInstance: name,
      autoDelete: disk?.autoDelete === true,
    });
    return one;
  });
}

/** Removes the instances and disks of an insert that failed. */
export async function undoInsert(world: GceWorld, made: readonly GceInstance[]): Promise<void> {
  for (const one of made) {
    removeFrom(world.instances, one);
    for (const disk of world.disks.filter(
      ({ attachedInstance, place }) => attachedInstance === one.name && place === one.place,
    ))
      removeFrom(world.disks, disk);
  }
}

/** Starts instances. The operation is done when they begin to boot, and they run once they have booted. */
export async function provisionAll(world: GceWorld, made: readonly GceInstance[]): Promise<void> {
  await sleep(world.cloud.bootTime);
  for (const one of made) {
    one.status = 'STAGING';
    one.isReady = true;
    // A guest that can't be created fails the test; the client must not wait for it.
    world.cloud.runInBackground(
      boot(world, one).catch((error: unknown) => {
        one.status = 'TERMINATED';
        throw error;
      }),
    );
  }
}

async function boot(world: GceWorld, one: GceInstance): Promise<void> {
  const userData = Object.fromEntries(one.metadata.map(({ key, value }) => [key, value]));
  const guest = await world.guests.start({ name: one.name, userData });
  if (!world.instances.includes(one) || one.status !== 'STAGING') return guest.remove();
  one.guest = guest;
  one.address = addressFor(one, guest.address);
  await sleep(world.cloud.bootTime);
  if (one.status === 'STAGING') one.status = 'RUNNING';
}

export async function destroy(world: GceWorld, one: GceInstance): Promise<void> {
  one.status = 'STOPPING';
  await one.guest?.remove();
  await sleep(world.cloud.bootTime);
  removeFrom(world.instances, one);
  for (const disk of world.disks.filter(
    ({ attachedInstance, place }) => attachedInstance === one.name && place === one.place,
  )) {
    if (disk.autoDelete) removeFrom(world.disks, disk);
    else disk.attachedInstance = undefined;
  }
}

export async function halt(
  _world: GceWorld,
  one: GceInstance,
  through: GceInstance['status'],
  end: GceInstance['status'],
): Promise<void> {
  if (one.status !== 'RUNNING' && one.status !== 'STAGING') return;
  one.status = through;
  await one.guest?.stop();
  one.address = undefined;
  one.status = end;
}

export async function wake(world: GceWorld, one: GceInstance): Promise<void> {
  if (one.status !== 'TERMINATED' && one.status !== 'SUSPENDED') return;
  one.status = 'STAGING';
  one.address = addressFor(one, (await one.guest?.start()) ?? '203.0.113.254');
  await sleep(world.cloud.bootTime);
  one.status = 'RUNNING';
}

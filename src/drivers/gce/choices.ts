import type { Call, Choice } from '../contract.ts';
import { withGce } from './client.ts';
import { options, type Options } from './options.ts';
import { machineMonthly } from './prices.ts';

type Given = Readonly<Record<string, unknown>>;

/** What the answers so far say of the way to Compute Engine; what is still open has its default. */
function wayFrom(given: Given): Options {
  const { project, zone, endpoint } = given;
  return options.parse(
    Object.fromEntries(Object.entries({ project, zone, endpoint }).filter(([, value]) => value !== undefined)),
  );
}

export async function zones(given: Given, call: Call): Promise<readonly Choice[]> {
  return await withGce(wayFrom(given), call, async (gce) => {
    const found = await gce.list<{ name?: string; status?: string | number }>(
      'looking for zones',
      'ZonesClient',
      'list',
      {},
    );
    return found
      .filter(({ status }) => status !== 'DOWN')
      .flatMap(({ name }) => name ?? [])
      .toSorted()
      .map((value) => ({ value, note: '' }));
  });
}

/** Families that make Docker hosts: of some hundreds of types, a list that can be read. */
const FAMILIES = /^(e2|n2|n2d|n4|c3|c4|t2d|t2a)-/;
const MOST_VCPUS = 16;

type MachineType = { readonly name?: string; readonly guestCpus?: number; readonly memoryMb?: number };

export async function machineTypes(given: Given, call: Call): Promise<readonly Choice[]> {
  const way = wayFrom(given);
  return await withGce(way, call, async (gce) => {
    const found = await gce.list<MachineType>('looking for machine types', 'MachineTypesClient', 'list', {
      zone: way.zone,
    });
    return found
      .filter(({ name = '', guestCpus = 0 }) => FAMILIES.test(name) && guestCpus <= MOST_VCPUS)
      .toSorted((left, right) => weight(left) - weight(right))
      .map((type) => ({ value: type.name ?? '', note: describedType(type) }));
  });
}

/** Smaller first; by price where it is known. */
function weight({ name = '', guestCpus = 0, memoryMb = 0 }: MachineType): number {
  return machineMonthly(name, false, false) ?? guestCpus * 20 + memoryMb / 300;
}

function describedType({ name = '', guestCpus, memoryMb = 0 }: MachineType): string {
  const monthly = machineMonthly(name, false, false);
  const cost = monthly === undefined ? [] : [`about $${monthly.toFixed(2)} a month`];
  return [`${guestCpus ?? '?'} vCPU`, `${memoryMb / 1024} GB`, ...cost].join(', ');
}

/** Families of images by their projects; Google's own list holds hundreds. */
export async function imageFamilies(): Promise<readonly Choice[]> {
  return [
    { value: 'debian-13', note: 'Debian 13', sets: { imageProject: 'debian-cloud' } },
    { value: 'debian-12', note: 'Debian 12', sets: { imageProject: 'debian-cloud' } },
    { value: 'ubuntu-2404-lts-amd64', note: 'Ubuntu 24.04 LTS', sets: { imageProject: 'ubuntu-os-cloud' } },
    { value: 'ubuntu-2204-lts', note: 'Ubuntu 22.04 LTS', sets: { imageProject: 'ubuntu-os-cloud' } },
  ];
}

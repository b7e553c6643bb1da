import type { DriverCall, OptionChoice } from '../contract.ts';
import { withGce } from './client.ts';
import { optionsSchema, type GceOptions } from './options.ts';
import { instanceMonthlyCost } from './prices.ts';

type GceAnswers = Readonly<Record<string, unknown>>;

/** What the answers so far say of the way to Compute Engine; what is still open has its default. */
function optionsFromAnswers(given: GceAnswers): GceOptions {
  const { project, zone, endpoint } = given;
  return optionsSchema.parse(
    Object.fromEntries(Object.entries({ project, zone, endpoint }).filter(([, value]) => value !== undefined)),
  );
}

export async function listZones(given: GceAnswers, call: DriverCall): Promise<readonly OptionChoice[]> {
  return await withGce(optionsFromAnswers(given), call, async (gce) => {
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
const OFFERED_MACHINE_TYPES = /^(e2|n2|n2d|n4|c3|c4|t2d|t2a)-/;
const MAX_VCPUS = 16;

type ListedMachineType = { readonly name?: string; readonly guestCpus?: number; readonly memoryMb?: number };

export async function listMachineTypes(given: GceAnswers, call: DriverCall): Promise<readonly OptionChoice[]> {
  const way = optionsFromAnswers(given);
  return await withGce(way, call, async (gce) => {
    const found = await gce.list<ListedMachineType>('looking for machine types', 'MachineTypesClient', 'list', {
      zone: way.zone,
    });
    return found
      .filter(({ name = '', guestCpus = 0 }) => OFFERED_MACHINE_TYPES.test(name) && guestCpus <= MAX_VCPUS)
      .toSorted((left, right) => sortKeyOf(left) - sortKeyOf(right))
      .map((type) => ({ value: type.name ?? '', note: formatMachineType(type) }));
  });
}

/** Smaller first; by price where it is known. */
function sortKeyOf({ name = '', guestCpus = 0, memoryMb = 0 }: ListedMachineType): number {
  return instanceMonthlyCost(name, false, false) ?? guestCpus * 20 + memoryMb / 300;
}

function formatMachineType({ name = '', guestCpus, memoryMb = 0 }: ListedMachineType): string {
  const monthly = instanceMonthlyCost(name, false, false);
  const cost = monthly === undefined ? [] : [`about $${monthly.toFixed(2)} a month`];
  return [`${guestCpus ?? '?'} vCPU`, `${memoryMb / 1024} GB`, ...cost].join(', ');
}

/** Families of images by their projects; Google's own list holds hundreds. */
export async function listImageFamilies(): Promise<readonly OptionChoice[]> {
  return [
    { value: 'debian-13', note: 'Debian 13', sets: { imageProject: 'debian-cloud' } },
    { value: 'debian-12', note: 'Debian 12', sets: { imageProject: 'debian-cloud' } },
    { value: 'ubuntu-2404-lts-amd64', note: 'Ubuntu 24.04 LTS', sets: { imageProject: 'ubuntu-os-cloud' } },
    { value: 'ubuntu-2204-lts', note: 'Ubuntu 22.04 LTS', sets: { imageProject: 'ubuntu-os-cloud' } },
  ];
}

import { machineTypeChoices, optionsFromAnswers, type OptionAnswers } from '../cloud/choices.ts';
import type { DriverCall, OptionChoice } from '../contract.ts';
import { withGce } from './client.ts';
import { optionsSchema, type GceOptions } from './options.ts';
import { instanceMonthlyCost } from './prices.ts';

/** Returns the options that say how to connect to Compute Engine. */
function connectionOptionsFrom(answers: OptionAnswers): GceOptions {
  return optionsFromAnswers(optionsSchema, ['project', 'zone', 'endpoint'], answers);
}

export async function listZones(answers: OptionAnswers, call: DriverCall): Promise<readonly OptionChoice[]> {
  return await withGce(connectionOptionsFrom(answers), call, async (gce) => {
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

/** Families that suit Docker hosts: Compute Engine has some hundreds of types, too many to choose from. */
const OFFERED_MACHINE_TYPES = /^(e2|n2|n2d|n4|c3|c4|t2d|t2a)-/;
const COST_ESTIMATE = { perCpu: 20, perGib: 1024 / 300 };

type ListedMachineType = { readonly name?: string; readonly guestCpus?: number; readonly memoryMb?: number };

export async function listMachineTypes(answers: OptionAnswers, call: DriverCall): Promise<readonly OptionChoice[]> {
  const options = connectionOptionsFrom(answers);
  return await withGce(options, call, async (gce) => {
    const found = await gce.list<ListedMachineType>('looking for machine types', 'MachineTypesClient', 'list', {
      zone: options.zone,
    });
    const offered = found
      .filter(({ name = '' }) => OFFERED_MACHINE_TYPES.test(name))
      .map(({ name = '', guestCpus, memoryMb = 0 }) => ({
        name,
        cpus: guestCpus,
        memoryMib: memoryMb,
        monthlyCost: instanceMonthlyCost(name, { spot: false }),
      }));
    return machineTypeChoices(offered, COST_ESTIMATE);
  });
}

/** Returns image families with their projects; Google's own list has hundreds. */
export async function listImageFamilies(): Promise<readonly OptionChoice[]> {
  return [
    { value: 'debian-13', note: 'Debian 13', sets: { imageProject: 'debian-cloud' } },
    { value: 'debian-12', note: 'Debian 12', sets: { imageProject: 'debian-cloud' } },
    { value: 'ubuntu-2404-lts-amd64', note: 'Ubuntu 24.04 LTS', sets: { imageProject: 'ubuntu-os-cloud' } },
    { value: 'ubuntu-2204-lts', note: 'Ubuntu 22.04 LTS', sets: { imageProject: 'ubuntu-os-cloud' } },
  ];
}

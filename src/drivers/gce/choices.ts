import { machineTypeChoices, optionsFromAnswers, type OptionAnswers } from '../cloud/choices.ts';
import type { DriverCall, OptionChoice } from '../contract.ts';
import { SlipwayError } from '../../errors.ts';
import { type GceConnection, withGce } from './client.ts';
import { readGcloudSetting } from './gcloud-settings.ts';
import { findImage, parseImageOptions, type GceImage } from './images.ts';
import { architectureOf, canBootFrom, type Architecture } from './machine-families.ts';
import { findMachineType, toMachineType, type MachineTypeDocument } from './machine-type.ts';
import { optionsSchema, type UnresolvedGceOptions } from './options.ts';
import { addressMonthlyCost, instanceMonthlyCost } from './prices.ts';
import { addCosts } from '../cloud/prices.ts';
import { listUsableZones, resolveDefaultZone } from './zones.ts';

/** The options that decide which choices there are: how to connect, and what the user has chosen already. */
function optionsFrom(answers: OptionAnswers): UnresolvedGceOptions {
  return optionsFromAnswers(
    optionsSchema,
    [
      'project',
      'zone',
      'endpoint',
      'machineType',
      'imageFamily',
      'imageProject',
      'machineImage',
      'diskType',
      'diskSize',
    ],
    answers,
  );
}

/** Returns the zones, the one of gcloud's settings first. */
export async function listZones(answers: OptionAnswers, call: DriverCall): Promise<readonly OptionChoice[]> {
  return await withGce(optionsFrom(answers), call, async (gce) => {
    const zones = await listUsableZones(gce);
    const configured = await readGcloudSetting(call.computer, 'compute', 'zone');
    return [
      ...zones
        .filter((zone) => zone === configured)
        .map((value) => ({ value, note: 'from your gcloud settings', isConfigured: true as const })),
      ...zones.filter((zone) => zone !== configured).map((value) => ({ value, note: '' })),
    ];
  });
}

/** Families that suit Docker hosts: Compute Engine has some hundreds of types, too many to choose from. */
const OFFERED_MACHINE_TYPES = /^(e2|n2|n2d|n4|c3|c4|t2d|t2a)-(?!.*-(lssd|metal)$)/;
const COST_ESTIMATE = { perCpu: 20, perGib: 1024 / 300 };

/** Returns the machine types of the zone that work with the disk and image that the user has named already. */
export async function listMachineTypes(answers: OptionAnswers, call: DriverCall): Promise<readonly OptionChoice[]> {
  const options = optionsFrom(answers);
  return await withGce(options, call, async (gce) => {
    const [found, image] = await Promise.all([
      gce.list<MachineTypeDocument>('looking for machine types', 'MachineTypesClient', 'list', {
        zone: options.zone ?? (await resolveDefaultZone(gce, call)),
      }),
      answers.imageFamily === undefined && answers.machineImage === undefined
        ? undefined
        : findImage(gce, parseImageOptions(options)),
    ]);
    const offered = found
      .map((document) => toMachineType(document, document.name ?? ''))
      .filter(
        ({ name, architecture, isUnavailable }) =>
          OFFERED_MACHINE_TYPES.test(name) &&
          !isUnavailable &&
          (options.diskType === undefined || canBootFrom(name, options.diskType)) &&
          (image?.architecture === undefined || image.architecture === architecture),
      )
      .map(({ name, cpus, memoryMib, architecture }) => ({
        name,
        cpus,
        memoryMib,
        isArm: architecture === 'ARM64',
        monthlyCost: addCosts(instanceMonthlyCost(name, { spot: false }), addressMonthlyCost({ spot: false })),
      }));
    return machineTypeChoices(offered, COST_ESTIMATE);
  });
}

type OfferedFamily = { readonly name: string; readonly project: string; readonly note: string };

/** Image families with their projects; Google's own list has hundreds. */
const OFFERED_FAMILIES: Readonly<Record<Architecture, readonly OfferedFamily[]>> = {
  X86_64: [
    { name: 'debian-13', project: 'debian-cloud', note: 'Debian 13' },
    { name: 'debian-12', project: 'debian-cloud', note: 'Debian 12' },
    { name: 'ubuntu-2404-lts-amd64', project: 'ubuntu-os-cloud', note: 'Ubuntu 24.04 LTS' },
    { name: 'ubuntu-2204-lts', project: 'ubuntu-os-cloud', note: 'Ubuntu 22.04 LTS' },
  ],
  ARM64: [
    { name: 'debian-13-arm64', project: 'debian-cloud', note: 'Debian 13, ARM' },
    { name: 'debian-12-arm64', project: 'debian-cloud', note: 'Debian 12, ARM' },
    { name: 'ubuntu-2404-lts-arm64', project: 'ubuntu-os-cloud', note: 'Ubuntu 24.04 LTS, ARM' },
    { name: 'ubuntu-2204-lts-arm64', project: 'ubuntu-os-cloud', note: 'Ubuntu 22.04 LTS, ARM' },
  ],
};

/** Returns the image families that work with the machine type and fit the disk that the user has named already. */
export async function listImageFamilies(answers: OptionAnswers, call: DriverCall): Promise<readonly OptionChoice[]> {
  const options = optionsFrom(answers);
  const offered = OFFERED_FAMILIES[architectureOf(options.machineType)];
  try {
    return await withGce(options, call, (gce) => listUsableFamilies(gce, answers, options, call));
  } catch (error) {
    // The families are known without a request too, but not whether they still exist.
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    return offered.map(toChoice);
  }
}

async function listUsableFamilies(
  gce: GceConnection,
  answers: OptionAnswers,
  options: UnresolvedGceOptions,
  call: DriverCall,
): Promise<readonly OptionChoice[]> {
  const zone = options.zone ?? (await resolveDefaultZone(gce, call));
  const type = await findMachineType(gce, { zone, machineType: options.machineType });
  const architecture = type?.architecture ?? architectureOf(options.machineType);
  const fits = (image: GceImage | undefined): boolean =>
    image !== undefined &&
    (image.architecture ?? architecture) === architecture &&
    (answers.diskSize === undefined || image.minDiskSize <= options.diskSize);
  const offered = OFFERED_FAMILIES[architecture];
  const images = await Promise.all(
    offered.map(async ({ name, project }) => {
      try {
        return await findImage(gce, { project, family: name });
      } catch (error) {
        // An image that can't be used any more. Everything else is no answer.
        if (error instanceof SlipwayError && error.code === 'USAGE') return undefined;
        throw error;
      }
    }),
  );
  return offered.filter((_, at) => fits(images[at])).map(toChoice);
}

const toChoice = ({ name, project, note }: OfferedFamily): OptionChoice => ({
  value: name,
  note,
  sets: { imageProject: project },
});

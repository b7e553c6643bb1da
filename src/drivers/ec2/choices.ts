import type { DescribeInstanceTypesCommandOutput, InstanceTypeInfo } from '@aws-sdk/client-ec2';
import { readUserFileIfExists } from '../../computer/files.ts';
import {
  machineTypeChoices,
  type OfferedMachineType,
  optionsFromAnswers,
  type OptionAnswers,
} from '../cloud/choices.ts';
import type { DriverCall, OptionChoice } from '../contract.ts';
import { collectPages, withEc2 } from './client.ts';
import { awsSettingsFiles } from './credentials.ts';
import { listRegionNames } from './list-resources.ts';
import { optionsSchema, type Ec2Options } from './options.ts';
import { instanceMonthlyCost } from './prices.ts';

/** Returns the options that say how to connect to EC2. */
function connectionOptionsFrom(answers: OptionAnswers): Ec2Options {
  return optionsFromAnswers(optionsSchema, ['profile', 'region', 'endpoint', 'insecureTransport'], answers);
}

/** Returns the profiles of the AWS settings; an empty list if there are fewer than two to choose from. */
export async function listProfiles(
  _answers: OptionAnswers,
  { computer }: DriverCall,
): Promise<readonly OptionChoice[]> {
  const files = awsSettingsFiles(computer).toReversed();
  const texts = await Promise.all(files.map(async (file) => (await readUserFileIfExists(file)) ?? ''));
  const sections = texts.flatMap((text) => [...text.matchAll(/^\s*\[\s*(?:profile\s+)?([^\]]+?)\s*\]/gm)]);
  const names = sections.map(([, name = '']) => name).filter((name) => !/^(sso-session|services)\s/.test(name));
  const unique = [...new Set(names)];
  return unique.length < 2 ? [] : unique.map((value) => ({ value, note: '' }));
}

/** Returns the regions, the one of the AWS settings first. Every region can list all the others. */
export async function listRegions(answers: OptionAnswers, call: DriverCall): Promise<readonly OptionChoice[]> {
  const options = connectionOptionsFrom(answers);
  const listFrom = async (region: string | undefined): Promise<readonly OptionChoice[]> =>
    await withEc2(
      options,
      call,
      async (aws) => {
        const configured = await aws.findRegion();
        if (configured === undefined) return await listFrom('us-east-1');
        const names = (await listRegionNames(aws)).toSorted();
        const first = region === undefined ? names.filter((name) => name === configured) : [];
        return [...new Set([...first, ...names])].map((value) => ({ value, note: REGION_LOCATIONS[value] ?? '' }));
      },
      region === undefined ? {} : { region },
    );
  return await listFrom(undefined);
}

const REGION_LOCATIONS: Readonly<Record<string, string>> = {
  'af-south-1': 'Cape Town',
  'ap-east-1': 'Hong Kong',
  'ap-northeast-1': 'Tokyo',
  'ap-northeast-2': 'Seoul',
  'ap-northeast-3': 'Osaka',
  'ap-south-1': 'Mumbai',
  'ap-south-2': 'Hyderabad',
  'ap-southeast-1': 'Singapore',
  'ap-southeast-2': 'Sydney',
  'ap-southeast-3': 'Jakarta',
  'ap-southeast-4': 'Melbourne',
  'ca-central-1': 'Montreal',
  'ca-west-1': 'Calgary',
  'eu-central-1': 'Frankfurt',
  'eu-central-2': 'Zurich',
  'eu-north-1': 'Stockholm',
  'eu-south-1': 'Milan',
  'eu-south-2': 'Spain',
  'eu-west-1': 'Ireland',
  'eu-west-2': 'London',
  'eu-west-3': 'Paris',
  'il-central-1': 'Tel Aviv',
  'me-central-1': 'UAE',
  'me-south-1': 'Bahrain',
  'sa-east-1': 'São Paulo',
  'us-east-1': 'N. Virginia',
  'us-east-2': 'Ohio',
  'us-west-1': 'N. California',
  'us-west-2': 'Oregon',
};

/** Families that suit Docker hosts: EC2 has some eight hundred types, too many to choose from. */
const OFFERED_INSTANCE_TYPES = ['t3.*', 't3a.*', 't4g.*', 'm7i.*', 'm7g.*', 'c7i.*', 'c7g.*', 'r7i.*'];
const COST_ESTIMATE = { perCpu: 15, perGib: 4 };

export async function listInstanceTypes(answers: OptionAnswers, call: DriverCall): Promise<readonly OptionChoice[]> {
  return await withEc2(connectionOptionsFrom(answers), call, async (aws) => {
    const Filters = [{ Name: 'instance-type', Values: OFFERED_INSTANCE_TYPES }];
    const pages = await collectPages<DescribeInstanceTypesCommandOutput>((next) =>
      aws.send('looking for instance types', new aws.sdk.DescribeInstanceTypesCommand({ Filters, ...next })),
    );
    const found = pages.flatMap(({ InstanceTypes = [] }) => InstanceTypes);
    return machineTypeChoices(found.map(toOfferedType), COST_ESTIMATE);
  });
}

function toOfferedType({ InstanceType, VCpuInfo, MemoryInfo, ProcessorInfo }: InstanceTypeInfo): OfferedMachineType {
  return {
    name: InstanceType ?? '',
    cpus: VCpuInfo?.DefaultVCpus,
    memoryMib: MemoryInfo?.SizeInMiB ?? 0,
    isArm: ProcessorInfo?.SupportedArchitectures?.includes('arm64') ?? false,
    monthlyCost: instanceMonthlyCost(InstanceType, { spot: false }),
  };
}

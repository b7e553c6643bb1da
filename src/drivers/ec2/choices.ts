import { join } from 'node:path';
import type {
  DescribeInstanceTypesCommandOutput,
  DescribeRegionsCommandOutput,
  InstanceTypeInfo,
} from '@aws-sdk/client-ec2';
import { readFileIfExists } from '../../computer/files.ts';
import type { DriverCall, OptionChoice } from '../contract.ts';
import { findConfiguredRegion, withEc2 } from './client.ts';
import { optionsSchema, type Ec2Options } from './options.ts';
import { instanceMonthlyCost } from './prices.ts';

type Ec2Answers = Readonly<Record<string, unknown>>;

/** What the answers so far say of the way to EC2; what is still open has its default. */
function optionsFromAnswers(given: Ec2Answers): Ec2Options {
  const { profile, region, endpoint, insecureTransport } = given;
  const known = Object.entries({ profile, region, endpoint, insecureTransport }).filter(
    ([, value]) => value !== undefined,
  );
  return optionsSchema.parse(Object.fromEntries(known));
}

/** Profiles of the AWS settings; with one or none there is nothing to choose. */
export async function listProfiles(
  _given: Ec2Answers,
  { computer: { env, platform } }: DriverCall,
): Promise<readonly OptionChoice[]> {
  const home = (platform === 'win32' ? env.USERPROFILE : env.HOME) ?? '';
  const files = [
    env.AWS_CONFIG_FILE || join(home, '.aws', 'config'),
    env.AWS_SHARED_CREDENTIALS_FILE || join(home, '.aws', 'credentials'),
  ];
  const texts = await Promise.all(files.map(async (file) => (await readFileIfExists(file)) ?? ''));
  const sections = texts.flatMap((text) => [...text.matchAll(/^\s*\[\s*(?:profile\s+)?([^\]]+?)\s*\]/gm)]);
  const names = sections.map(([, name = '']) => name).filter((name) => !/^(sso-session|services)\s/.test(name));
  const unique = [...new Set(names)];
  return unique.length < 2 ? [] : unique.map((value) => ({ value, note: '' }));
}

/** Any region tells of all the others. Where the settings name one, that one comes first. */
export async function listRegions(given: Ec2Answers, call: DriverCall): Promise<readonly OptionChoice[]> {
  const way = optionsFromAnswers(given);
  const ask = async (region: string | undefined): Promise<readonly OptionChoice[]> =>
    await withEc2(
      way,
      call,
      async (aws) => {
        const own = await findConfiguredRegion(aws);
        if (own === undefined) return await ask('us-east-1');
        const { Regions = [] }: DescribeRegionsCommandOutput = await aws.send(
          'looking for your regions',
          new aws.sdk.DescribeRegionsCommand({}),
        );
        const names = Regions.flatMap(({ RegionName }) => RegionName ?? []).toSorted();
        const first = region === undefined ? names.filter((name) => name === own) : [];
        return [...new Set([...first, ...names])].map((value) => ({ value, note: locationOf(value) }));
      },
      region,
    );
  return await ask(undefined);
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

const locationOf = (region: string): string => REGION_LOCATIONS[region] ?? '';

/** Families that make Docker hosts: of some eight hundred types, a list that can be read. */
const OFFERED_INSTANCE_TYPES = ['t3.*', 't3a.*', 't4g.*', 'm7i.*', 'm7g.*', 'c7i.*', 'c7g.*', 'r7i.*'];
const MAX_VCPUS = 16;

export async function listInstanceTypes(given: Ec2Answers, call: DriverCall): Promise<readonly OptionChoice[]> {
  return await withEc2(optionsFromAnswers(given), call, async (aws) => {
    const found: InstanceTypeInfo[] = [];
    let next: string | undefined;
    do {
      const page: DescribeInstanceTypesCommandOutput = await aws.send(
        'looking for instance types',
        new aws.sdk.DescribeInstanceTypesCommand({
          Filters: [{ Name: 'instance-type', Values: OFFERED_INSTANCE_TYPES }],
          ...(next === undefined ? {} : { NextToken: next }),
        }),
      );
      found.push(...(page.InstanceTypes ?? []));
      next = page.NextToken || undefined;
    } while (next !== undefined);
    return found
      .filter(({ VCpuInfo }) => (VCpuInfo?.DefaultVCpus ?? 0) <= MAX_VCPUS)
      .toSorted((left, right) => sortKeyOf(left) - sortKeyOf(right))
      .map((type) => ({ value: type.InstanceType ?? '', note: formatInstanceType(type) }));
  });
}

/** Smaller first; by price where it is known. */
function sortKeyOf({ InstanceType, VCpuInfo, MemoryInfo }: InstanceTypeInfo): number {
  const guess = (VCpuInfo?.DefaultVCpus ?? 0) * 15 + (MemoryInfo?.SizeInMiB ?? 0) / 256;
  return instanceMonthlyCost(InstanceType, 'running', false) ?? guess;
}

function formatInstanceType({ InstanceType, VCpuInfo, MemoryInfo, ProcessorInfo }: InstanceTypeInfo): string {
  const monthly = instanceMonthlyCost(InstanceType, 'running', false);
  return [
    `${VCpuInfo?.DefaultVCpus ?? '?'} vCPU`,
    `${(MemoryInfo?.SizeInMiB ?? 0) / 1024} GiB`,
    ...(ProcessorInfo?.SupportedArchitectures?.includes('arm64') ? ['ARM'] : []),
    ...(monthly === undefined ? [] : [`about $${monthly.toFixed(2)} a month`]),
  ].join(', ');
}

import type { RunInstancesCommandInput, Tag } from '@aws-sdk/client-ec2';
import type { Ec2Options } from './options.ts';
import { tagSpecifications } from './tags.ts';

export type Ec2InstanceSpec = {
  readonly options: Ec2Options;
  readonly userData: string;
  readonly securityGroupIds: readonly string[];
  readonly tags: readonly Tag[];
  /** An instance that powers itself off is deleted, with its disk. */
  readonly terminateOnShutdown: boolean;
};

/** Pure. Returns the request for `count` instances, with all of their settings. */
export function runInstancesInput(spec: Ec2InstanceSpec, count: number): RunInstancesCommandInput {
  const { options, userData, tags } = spec;
  const { iamInstanceProfile: profile, keypairName, cpuCredits } = options;
  const kinds = ['instance', 'volume', 'network-interface', ...(options.spot ? ['spot-instances-request'] : [])];
  return {
    ImageId: options.ami,
    InstanceType: options.instanceType as NonNullable<RunInstancesCommandInput['InstanceType']>,
    MinCount: count,
    MaxCount: count,
    UserData: Buffer.from(userData).toString('base64'),
    TagSpecifications: tagSpecifications(tags, kinds),
    BlockDeviceMappings: [{ DeviceName: options.deviceName, Ebs: rootDiskSettings(options) }],
    MetadataOptions: {
      HttpEndpoint: 'enabled',
      HttpTokens: options.metadataTokens,
      HttpPutResponseHopLimit: options.metadataHops,
    },
    ...networkSettings(spec),
    ...placementSettings(options),
    ...(keypairName === undefined ? {} : { KeyName: keypairName }),
    ...(profile === undefined
      ? {}
      : { IamInstanceProfile: profile.startsWith('arn:') ? { Arn: profile } : { Name: profile } }),
    ...(spec.terminateOnShutdown ? { InstanceInitiatedShutdownBehavior: 'terminate' as const } : {}),
    ...(options.ebsOptimized ? { EbsOptimized: true } : {}),
    ...(options.monitoring ? { Monitoring: { Enabled: true } } : {}),
    ...(cpuCredits === undefined ? {} : { CreditSpecification: { CpuCredits: cpuCredits } }),
    ...(options.spot ? spotSettings(options) : {}),
  };
}

function networkSettings({ options, securityGroupIds }: Ec2InstanceSpec): Partial<RunInstancesCommandInput> {
  const { subnet, privateAddressOnly, ipv6 } = options;
  if (subnet === undefined) return { SecurityGroupIds: [...securityGroupIds] };
  return {
    NetworkInterfaces: [
      {
        DeviceIndex: 0,
        SubnetId: subnet,
        Groups: [...securityGroupIds],
        AssociatePublicIpAddress: !privateAddressOnly,
        ...(ipv6 ? { Ipv6AddressCount: 1 } : {}),
        DeleteOnTermination: true,
      },
    ],
  };
}

function placementSettings({ subnet, zone, tenancy, placementGroup }: Ec2Options): Partial<RunInstancesCommandInput> {
  const placement = {
    // A subnet is in one zone already.
    ...(subnet === undefined && zone !== undefined ? { AvailabilityZone: zone } : {}),
    ...(tenancy === undefined ? {} : { Tenancy: tenancy }),
    ...(placementGroup === undefined ? {} : { GroupName: placementGroup }),
  };
  return Object.keys(placement).length > 0 ? { Placement: placement } : {};
}

function spotSettings({ spotPrice }: Ec2Options): Partial<RunInstancesCommandInput> {
  return {
    InstanceMarketOptions: {
      MarketType: 'spot',
      SpotOptions: {
        SpotInstanceType: 'one-time',
        InstanceInterruptionBehavior: 'terminate',
        ...(spotPrice === undefined ? {} : { MaxPrice: spotPrice }),
      },
    },
  };
}

function rootDiskSettings(options: Ec2Options): object {
  return {
    VolumeSize: options.rootSize,
    VolumeType: options.volumeType,
    DeleteOnTermination: true,
    ...(options.volumeIops === undefined ? {} : { Iops: options.volumeIops }),
    ...(options.volumeThroughput === undefined ? {} : { Throughput: options.volumeThroughput }),
    ...(options.volumeEncrypted || options.volumeKmsKey !== undefined ? { Encrypted: true } : {}),
    ...(options.volumeKmsKey === undefined ? {} : { KmsKeyId: options.volumeKmsKey }),
  };
}

/** What every double of EC2 has: accounts, regions, images and types; and the parameters that its operations take. */

export const ACCOUNT = '123456789012';
export const DEBIAN_ACCOUNT = '136693071363';
export const CANONICAL_ACCOUNT = '099720109477';
export const OTHER_ACCOUNT = '210987654321';
export const ACCESS_KEY = 'AKIAEXAMPLEOFTESTS';
/** The access key of another account, with the same secret. */
export const OTHER_ACCESS_KEY = 'AKIAEXAMPLEOFOTHERS';
export const SECRET_KEY = 'a-secret-that-must-never-be-seen-anywhere';
export const REGIONS = ['eu-central-1', 'us-east-1'];
/** A VPC of the user besides the default one, with a subnet in which instances get a public address only on request. */
export const OWN_VPC = 'vpc-own';
export const OWN_SUBNET = 'subnet-own';

export const IMAGES = [
  fakeImage(
    'ami-0debian13new',
    DEBIAN_ACCOUNT,
    'debian-13-amd64-20261101-2285',
    'x86_64',
    '2026-11-01T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0debian13old',
    DEBIAN_ACCOUNT,
    'debian-13-amd64-20250901-2200',
    'x86_64',
    '2025-09-01T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0debian13arm',
    DEBIAN_ACCOUNT,
    'debian-13-arm64-20261101-2285',
    'arm64',
    '2026-11-01T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0debian13backports',
    DEBIAN_ACCOUNT,
    'debian-13-backports-amd64-20261105-2290',
    'x86_64',
    '2026-11-05T00:00:00.000Z',
    '/dev/xvda',
  ),
  { ...fakeImage('ami-0large', ACCOUNT, 'large', 'x86_64', '2026-11-01T00:00:00.000Z', '/dev/xvda'), size: 100 },
  fakeImage(
    'ami-0debian12',
    DEBIAN_ACCOUNT,
    'debian-12-amd64-20261001-2250',
    'x86_64',
    '2026-10-01T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0fakedebian',
    '666666666666',
    'debian-13-amd64-20261123-9999',
    'x86_64',
    '2026-11-23T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0ubuntu2404',
    CANONICAL_ACCOUNT,
    'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261015',
    'x86_64',
    '2026-10-15T00:00:00.000Z',
    '/dev/sda1',
  ),
];

function fakeImage(id: string, owner: string, name: string, architecture: string, made: string, root: string) {
  return { id, owner, name, architecture, made, root, size: 8 };
}

export const INSTANCE_TYPES = ['c5.large', 'm7i.large', 't3.micro', 't3.small', 't3.medium', 't4g.small', 't3.xlarge'];

/** The top-level parameters of each operation; the double refuses any other, so that a typing error shows. */
export const PARAMETERS: Readonly<Record<string, readonly string[]>> = {
  DescribeRegions: ['AllRegions', 'RegionName'],
  DescribeVpcs: ['VpcId', 'Filter', 'NextToken', 'MaxResults'],
  DescribeSubnets: ['SubnetId', 'Filter', 'NextToken', 'MaxResults'],
  DescribeImages: ['ImageId', 'Owner', 'Filter', 'NextToken', 'MaxResults', 'IncludeDeprecated'],
  DescribeInstanceTypeOfferings: ['LocationType', 'Filter', 'NextToken', 'MaxResults'],
  DescribeRouteTables: ['RouteTableId', 'Filter', 'NextToken', 'MaxResults'],
  DescribeInstanceTypes: ['InstanceType', 'Filter', 'NextToken', 'MaxResults'],
  CreateSecurityGroup: ['GroupName', 'GroupDescription', 'VpcId', 'TagSpecification'],
  DescribeSecurityGroups: ['GroupId', 'GroupName', 'Filter', 'NextToken', 'MaxResults'],
  AuthorizeSecurityGroupIngress: ['GroupId', 'IpPermissions', 'TagSpecification'],
  DeleteSecurityGroup: ['GroupId'],
  RunInstances: [
    'ImageId',
    'InstanceType',
    'MinCount',
    'MaxCount',
    'ClientToken',
    'UserData',
    'TagSpecification',
    'BlockDeviceMapping',
    'MetadataOptions',
    'SecurityGroupId',
    'NetworkInterface',
    'Placement',
    'KeyName',
    'IamInstanceProfile',
    'EbsOptimized',
    'InstanceInitiatedShutdownBehavior',
    'Monitoring',
    'CreditSpecification',
    'InstanceMarketOptions',
    'SubnetId',
    'DryRun',
  ],
  DescribeInstances: ['InstanceId', 'Filter', 'NextToken', 'MaxResults'],
  StartInstances: ['InstanceId'],
  StopInstances: ['InstanceId', 'Force', 'Hibernate'],
  TerminateInstances: ['InstanceId'],
  CreateTags: ['ResourceId', 'Tag'],
  ImportKeyPair: ['KeyName', 'PublicKeyMaterial'],
  DeleteKeyPair: ['KeyName'],
  DeleteTags: ['ResourceId', 'Tag'],
  ModifyInstanceAttribute: ['InstanceId', 'InstanceType', 'InstanceInitiatedShutdownBehavior'],
  ModifyVolume: ['VolumeId', 'Size'],
  RevokeSecurityGroupIngress: ['GroupId', 'IpPermissions'],
  DescribeVolumes: ['VolumeId', 'Filter', 'NextToken', 'MaxResults'],
  DeleteVolume: ['VolumeId'],
  DescribeNetworkInterfaces: ['NetworkInterfaceId', 'Filter', 'NextToken', 'MaxResults'],
  DeleteNetworkInterface: ['NetworkInterfaceId'],
  DescribeSpotInstanceRequests: ['SpotInstanceRequestId', 'Filter', 'NextToken', 'MaxResults'],
  CancelSpotInstanceRequests: ['SpotInstanceRequestId'],
};

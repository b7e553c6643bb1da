import {
  booleanField,
  constantField,
  keptField,
  listField,
  numberField,
  textField,
  type DriverField,
  type DriverMapping,
} from './driver-fields.ts';
import { nonEmptyString, numberOrUndefined, stringList, type ConfigJsonFields } from './fields.ts';

const keyNameField: DriverField = {
  key: 'KeyName',
  write: ({ spec: { options } }, before) => nonEmptyString(options.keypairName) ?? nonEmptyString(before.KeyName) ?? '',
  read: ({ KeyName }, { name, ssh }) => ({ keypairName: nonEmptyString(KeyName) ?? (ssh ? name : undefined) }),
};

const privateAddressField: DriverField = {
  key: 'PrivateIPAddress',
  write: ({ spec: { options }, host }, before) =>
    options.privateAddressOnly === true || options.usePrivateAddress === true
      ? (host?.address ?? '')
      : (nonEmptyString(before.PrivateIPAddress) ?? ''),
};

/** The security groups belong to Docker Machine and allow access already, so Slipway adds no rules to them. */
const readonlyGroupsField: DriverField = {
  key: 'SecurityGroupReadOnly',
  write: ({ spec: { options } }) => options.securityGroupReadonly === true,
  read: () => ({ securityGroupReadonly: true }),
};

/** config.json has `key1,value1,key2,value2` where the option has `key=value` items. */
const tagsField: DriverField = {
  key: 'Tags',
  write: ({ spec: { options } }) =>
    stringList(options.tags)
      .flatMap((tag) => tag.split(/[=,]/))
      .join(','),
  read: ({ Tags }) => ({ tags: parseTags(nonEmptyString(Tags)) }),
};

function parseTags(text: string | undefined): readonly string[] {
  const words = text?.split(',') ?? [];
  return words.flatMap((key, at) => (at % 2 === 0 && words[at + 1] !== undefined ? [`${key}=${words[at + 1]}`] : []));
}

/** Docker Machine has no option for the IOPS that `io1` and `io2` need, so their type is not read. */
const volumeTypeField: DriverField = {
  ...textField('VolumeType', 'volumeType'),
  read: ({ VolumeType }) => {
    const volumeType = nonEmptyString(VolumeType);
    return volumeType?.startsWith('io') === true ? {} : { volumeType };
  },
};

/** config.json has the zone's letter, the option the region and the letter. */
const zoneField: DriverField = {
  key: 'Zone',
  write: ({ spec: { options } }) => (nonEmptyString(options.zone) ?? '').slice(-1),
  read: ({ Region, Zone }) => {
    const [region, zone] = [nonEmptyString(Region), nonEmptyString(Zone)];
    return { zone: zone?.length === 1 && region !== undefined ? `${region}${zone}` : zone };
  },
};

/** Docker Machine always writes a price, which applies only to a spot instance. */
const spotPriceField: DriverField = {
  ...textField('SpotPrice', 'spotPrice'),
  read: ({ RequestSpotInstance, SpotPrice }) =>
    RequestSpotInstance === true ? { spotPrice: nonEmptyString(SpotPrice) } : {},
};

export const ec2Mapping: DriverMapping = {
  driver: 'ec2',
  driverName: 'amazonec2',
  fields: [
    ...['Id', 'AccessKey', 'SecretKey', 'SessionToken'].map((key) => constantField(key, '')),
    textField('Region', 'region'),
    textField('AMI', 'ami'),
    constantField('SSHKeyID', 0),
    {
      key: 'ExistingKey',
      write: ({ spec: { options } }, before) => before.ExistingKey ?? options.keypairName !== undefined,
    },
    keyNameField,
    {
      key: 'InstanceId',
      write: ({ adoptedResource }, before) => adoptedResource?.split('/')[0] ?? nonEmptyString(before.InstanceId) ?? '',
    },
    textField('InstanceType', 'instanceType'),
    privateAddressField,
    keptField('SecurityGroupId', ''),
    keptField('SecurityGroupIds', null),
    keptField('SecurityGroupName', ''),
    listField('SecurityGroupNames', 'securityGroup'),
    readonlyGroupsField,
    listField('OpenPorts', 'openPort'),
    tagsField,
    keptField('ReservationId', ''),
    textField('DeviceName', 'deviceName'),
    numberField('RootSize', 'rootSize'),
    volumeTypeField,
    textField('IamInstanceProfile', 'iamInstanceProfile'),
    textField('VpcId', 'vpc'),
    textField('SubnetId', 'subnet'),
    zoneField,
    booleanField('RequestSpotInstance', 'spot'),
    spotPriceField,
    {
      key: 'BlockDurationMinutes',
      write: ({ spec: { options } }) => numberOrUndefined(options.blockDurationMinutes) ?? 0,
    },
    booleanField('PrivateIPOnly', 'privateAddressOnly'),
    booleanField('UsePrivateIP', 'usePrivateAddress'),
    booleanField('UseEbsOptimizedInstance', 'ebsOptimized'),
    booleanField('Monitoring', 'monitoring'),
    {
      key: 'SSHPrivateKeyPath',
      write: ({ spec: { options } }) => nonEmptyString(options.sshKey) ?? '',
      read: (_values, { ssh }) => ({ sshKey: ssh?.keyFile }),
    },
    { key: 'RetryCount', write: ({ spec: { options } }) => numberOrUndefined(options.retries) ?? 5 },
    textField('Endpoint', 'endpoint'),
    booleanField('DisableSSL', 'insecureTransport'),
    { key: 'UserDataFile', write: ({ spec: { options } }) => nonEmptyString(options.userData) ?? '' },
  ],
  readConnection: ({ SSHUser }, { ssh }) => ({ sshUser: nonEmptyString(SSHUser), sshPort: ssh?.port }),
  resourceIdentity: ({ InstanceId }) => nonEmptyString(InstanceId) ?? '',
  adoptedResources: instanceAndKey,
};

/** Returns `INSTANCE`, or `INSTANCE/KEY` if the key pair was imported for this instance alone. */
function instanceAndKey({ InstanceId, ExistingKey, KeyName }: ConfigJsonFields): string | undefined {
  const [instance, key] = [nonEmptyString(InstanceId), nonEmptyString(KeyName)];
  if (instance === undefined) return undefined;
  return ExistingKey === true || key === undefined ? instance : `${instance}/${key}`;
}

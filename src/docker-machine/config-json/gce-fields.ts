import {
  booleanField,
  commaListField,
  listField,
  numberField,
  textField,
  type DriverField,
  type DriverMapping,
  type DriverReadContext,
} from './driver-fields.ts';
import { nonEmptyString, type ConfigJsonFields } from './fields.ts';

/** Writes an image link without `projects/`, as Docker Machine does. */
const imageField: DriverField = {
  ...textField('MachineImage', 'machineImage'),
  write: ({ spec: { options } }) =>
    nonEmptyString(options.machineImage) ?? nonEmptyString(options.imageLink)?.replace(/^projects\//, '') ?? '',
};

/** Docker Machine knows spot instances only as "preemptible". */
const preemptibleField: DriverField = {
  ...booleanField('Preemptible', 'preemptible'),
  write: ({ spec: { options } }) => options.preemptible === true || options.spot === true,
};

const internalIpField: DriverField = {
  ...booleanField('UseInternalIP', 'useInternalIp'),
  write: ({ spec: { options } }) => options.useInternalIp === true || options.useInternalIpOnly === true,
};

export const gceMapping: DriverMapping = {
  driver: 'gce',
  driverName: 'google',
  fields: [
    textField('Zone', 'zone'),
    textField('MachineType', 'machineType'),
    imageField,
    textField('DiskType', 'diskType'),
    textField('Address', 'address'),
    textField('Network', 'network'),
    textField('Subnetwork', 'subnetwork'),
    preemptibleField,
    internalIpField,
    booleanField('UseInternalIPOnly', 'useInternalIpOnly'),
    textField('ServiceAccount', 'serviceAccount'),
    commaListField('Scopes', 'scopes'),
    numberField('DiskSize', 'diskSize'),
    textField('Project', 'project'),
    commaListField('Tags', 'tags'),
    booleanField('UseExisting', 'useExisting'),
    listField('OpenPorts', 'openPort'),
  ],
  readConnection,
  resourceIdentity: (values, name) => `${nonEmptyString(values.Project) ?? ''}/${instancePath(values, name) ?? ''}`,
  adoptedResources: (values, name) => (values.UseExisting === true ? undefined : instancePath(values, name)),
};

function readConnection(
  { Project, SSHUser, Zone }: ConfigJsonFields,
  { name, ssh }: DriverReadContext,
): ConfigJsonFields {
  const [project, zone] = [nonEmptyString(Project), nonEmptyString(Zone)];
  const instanceLink =
    project === undefined || zone === undefined ? undefined : `projects/${project}/zones/${zone}/instances/${name}`;
  return { sshUser: nonEmptyString(SSHUser), sshKey: ssh?.keyFile, instanceLink };
}

/** Returns `ZONE/NAME`. */
function instancePath({ Zone }: ConfigJsonFields, name: string): string | undefined {
  const zone = nonEmptyString(Zone);
  return zone === undefined ? undefined : `${zone}/${name}`;
}

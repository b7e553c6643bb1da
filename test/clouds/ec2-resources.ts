import { ApiError } from './cloud-server.ts';
import { IMAGES, INSTANCE_TYPES, REGIONS } from './ec2-catalog.ts';
import { fieldOf, listOf, textOf, textsOf } from './ec2-query-protocol.ts';
import { filterResources, newId, requireInstances, tagSet, type Ec2Operations, type Ec2World } from './ec2-world.ts';

/** Operations on regions, images, types, tags, key pairs and volumes. */
export const resourceOperations: Ec2Operations = {
  DescribeRegions: () => ({
    regionInfo: REGIONS.map((regionName) => ({ regionName, optInStatus: 'opt-in-not-required' })),
  }),
  DescribeImages(_world, params) {
    const wanted = textsOf(params.ImageId);
    const missing = wanted.find((one) => !IMAGES.some((known) => known.id === one));
    if (missing !== undefined)
      throw new ApiError(400, 'InvalidAMIID.NotFound', `The image id '[${missing}]' does not exist`);
    const owners = textsOf(params.Owner);
    const found = filterResources(
      params,
      IMAGES.filter(
        (one) =>
          (wanted.length === 0 || wanted.includes(one.id)) && (owners.length === 0 || owners.includes(one.owner)),
      ),
      (one) => ({ name: one.name, architecture: one.architecture, state: 'available' }),
      () => ({}),
    );
    return {
      imagesSet: found.map((one) => ({
        imageId: one.id,
        imageOwnerId: one.owner,
        name: one.name,
        architecture: one.architecture,
        creationDate: one.made,
        rootDeviceName: one.root,
        blockDeviceMapping: [{ deviceName: one.root, ebs: { volumeSize: one.size } }],
        imageState: 'available',
      })),
    };
  },
  DescribeInstanceTypeOfferings(world, params, region) {
    const [type = ''] = textsOf(fieldOf(listOf(params.Filter)[0], 'Value'));
    const missing = world.cloud.missingTypes.get(type) ?? [];
    return {
      instanceTypeOfferingSet: ['a', 'b', 'c']
        .filter((letter) => !missing.includes(letter))
        .map((letter) => ({
          instanceType: type,
          locationType: 'availability-zone',
          location: `${region}${letter}`,
        })),
    };
  },
  DescribeInstanceTypes(_world, params) {
    const named = textsOf(params.InstanceType);
    const types =
      named.length > 0
        ? named
        : filterResources(
            params,
            INSTANCE_TYPES,
            (type) => ({ 'instance-type': type }),
            () => ({}),
          );
    const wrong = types.find((type) => !/^(t[234]|m[567]|c[567]|r[567]|p3)[a-z]*\.\d*[a-z]+$/.test(type));
    if (wrong !== undefined)
      throw new ApiError(400, 'InvalidInstanceType', `The following supplied instance types do not exist: [${wrong}]`);
    return {
      instanceTypeSet: types.map((instanceType) => ({
        instanceType,
        vCpuInfo: { defaultVCpus: instanceType.endsWith('.xlarge') ? 4 : 2 },
        memoryInfo: {
          sizeInMiB: { micro: 1024, small: 2048, medium: 4096 }[instanceType.split('.')[1] ?? ''] ?? 8192,
        },
        processorInfo: { supportedArchitectures: [/^[a-z]\d+g/.test(instanceType) ? 'arm64' : 'x86_64'] },
      })),
    };
  },
  CreateTags(world, params, region) {
    const pairs = listOf(params.Tag).map(
      (tag) => [textOf(fieldOf(tag, 'Key')), textOf(fieldOf(tag, 'Value'))] as const,
    );
    for (const one of taggedResources(world, region, textsOf(params.ResourceId)))
      Object.assign(one.tags, Object.fromEntries(pairs));
    return { return: true };
  },
  DeleteTags(world, params, region) {
    const keys = listOf(params.Tag).map((tag) => textOf(fieldOf(tag, 'Key')));
    for (const { tags } of taggedResources(world, region, textsOf(params.ResourceId)))
      for (const key of keys) delete tags[key];
    return { return: true };
  },
  ImportKeyPair(world, params) {
    const name = textOf(params.KeyName);
    if (world.keyPairs.has(name))
      throw new ApiError(400, 'InvalidKeyPair.Duplicate', `The keypair '${name}' already exists.`);
    world.keyPairs.add(name);
    return { keyName: name, keyPairId: newId('key') };
  },
  DeleteKeyPair(world, params) {
    world.keyPairs.delete(textOf(params.KeyName));
    return { return: true };
  },
  ModifyVolume(world, params) {
    const volume = world.volumes.find((one) => one.id === textOf(params.VolumeId));
    if (!volume)
      throw new ApiError(400, 'InvalidVolume.NotFound', `The volume '${textOf(params.VolumeId)}' does not exist.`);
    const size = Number(textOf(params.Size));
    if (size < volume.size)
      throw new ApiError(400, 'InvalidParameterValue', 'New size cannot be smaller than existing size');
    volume.size = size;
    return { volumeModification: { volumeId: volume.id, modificationState: 'optimizing', targetSize: size } };
  },
  DescribeVolumes(world, params, region) {
    const found = filterResources(
      params,
      world.volumes.filter(
        (one) =>
          one.region === region &&
          world.cloud.isShown(one) &&
          (params.VolumeId === undefined || textsOf(params.VolumeId).includes(one.id)),
      ),
      (one) => ({ status: one.instance === undefined ? 'available' : 'in-use' }),
      (one) => one.tags,
    );
    return {
      volumeSet: found.map((one) => ({
        volumeId: one.id,
        size: one.size,
        volumeType: one.type,
        status: one.instance === undefined ? 'available' : 'in-use',
        createTime: new Date(one.made),
        tagSet: tagSet(one.tags),
        attachmentSet: one.instance === undefined ? [] : [{ instanceId: one.instance, status: 'attached' }],
      })),
    };
  },
  DeleteVolume(world, params) {
    const volume = world.volumes.find((one) => one.id === textOf(params.VolumeId));
    if (!volume)
      throw new ApiError(400, 'InvalidVolume.NotFound', `The volume '${textOf(params.VolumeId)}' does not exist.`);
    if (volume.instance !== undefined)
      throw new ApiError(400, 'VolumeInUse', `Volume ${volume.id} is currently attached`);
    world.volumes.splice(world.volumes.indexOf(volume), 1);
    return { return: true };
  },
};

/** Returns the resources with these ids. */
function taggedResources(
  world: Ec2World,
  region: string,
  wanted: readonly string[],
): readonly { readonly tags: Record<string, string> }[] {
  return wanted.flatMap((id): readonly { readonly tags: Record<string, string> }[] => {
    const resource = [...world.volumes, ...world.spots].find((one) => one.id === id);
    return resource ? [resource] : requireInstances(world, region, [id]);
  });
}

/**
 * Every API method that this driver calls, by the client of Google's package. The bundle includes only the messages of
 * these (build.mjs), since the package has those of a hundred services.
 */
export const CALLS = {
  AddressesClient: ['get', 'insert', 'delete', 'aggregatedList'],
  DisksClient: ['get', 'list', 'aggregatedList', 'delete', 'resize', 'setLabels'],
  FirewallsClient: ['get', 'insert', 'patch', 'delete', 'list'],
  GlobalOperationsClient: ['get', 'wait'],
  ImagesClient: ['get', 'getFromFamily'],
  InstancesClient: [
    'get',
    'list',
    'aggregatedList',
    'insert',
    'bulkInsert',
    'delete',
    'start',
    'stop',
    'resume',
    'setMetadata',
    'setTags',
    'setLabels',
    'setMachineType',
    'getGuestAttributes',
  ],
  MachineTypesClient: ['get', 'list'],
  RegionOperationsClient: ['get', 'wait'],
  RegionsClient: ['get'],
  SubnetworksClient: ['get'],
  ZoneOperationsClient: ['get', 'wait'],
  ZonesClient: ['get', 'list'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type ComputeClientName = keyof typeof CALLS;

/**
 * All calls of the API that this driver makes, by the clients of Google's package. The bundle holds the messages of these and no others
 * (build.mjs), which is the tenth part of a hundred services.
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

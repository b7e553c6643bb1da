/**
 * Every API method that this driver calls, by the client of Google's package. The package describes a hundred services;
 * build.mjs keeps only what these methods use.
 */
export const API_METHODS = {
  AddressesClient: ['get', 'insert', 'delete', 'aggregatedList'],
  DiskTypesClient: ['get'],
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
  NetworksClient: ['get'],
  RegionOperationsClient: ['get', 'wait'],
  RegionsClient: ['get'],
  SubnetworksClient: ['get'],
  ZoneOperationsClient: ['get', 'wait'],
  ZonesClient: ['get', 'list'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type ComputeClientName = keyof typeof API_METHODS;

// Imports client by client: the package's index would load a hundred of them. build.mjs leaves out the protos that
// these do not use.
export { AddressesClient } from '@google-cloud/compute/build/src/v1/addresses_client.js';
export { DiskTypesClient } from '@google-cloud/compute/build/src/v1/disk_types_client.js';
export { DisksClient } from '@google-cloud/compute/build/src/v1/disks_client.js';
export { FirewallsClient } from '@google-cloud/compute/build/src/v1/firewalls_client.js';
export { GlobalOperationsClient } from '@google-cloud/compute/build/src/v1/global_operations_client.js';
export { ImagesClient } from '@google-cloud/compute/build/src/v1/images_client.js';
export { InstancesClient } from '@google-cloud/compute/build/src/v1/instances_client.js';
export { MachineTypesClient } from '@google-cloud/compute/build/src/v1/machine_types_client.js';
export { NetworksClient } from '@google-cloud/compute/build/src/v1/networks_client.js';
export { RegionOperationsClient } from '@google-cloud/compute/build/src/v1/region_operations_client.js';
export { RegionsClient } from '@google-cloud/compute/build/src/v1/regions_client.js';
export { SubnetworksClient } from '@google-cloud/compute/build/src/v1/subnetworks_client.js';
export { ZoneOperationsClient } from '@google-cloud/compute/build/src/v1/zone_operations_client.js';
export { ZonesClient } from '@google-cloud/compute/build/src/v1/zones_client.js';
export { GoogleAuth, OAuth2Client } from 'google-auth-library';

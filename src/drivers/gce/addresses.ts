import { ownerIdOf } from '../cloud/batch.ts';
import { formatTaggedDescription, type OwnerTags } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { CreateCall, Target } from '../contract.ts';
import { type GceConnection, regionOfZone } from './client.ts';
import { isInternalOnly } from './instance-request.ts';
import { createOnce, runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';
import { addressName } from './resource-names.ts';

type Address = { readonly address?: string };

/**
 * Returns the static address of the instance: one of the user's, or one that Slipway reserves. Undefined if the
 * instance gets any address, or none.
 */
export async function ensureAddress(
  gce: GceConnection,
  target: Target<GceOptions>,
  tags: OwnerTags,
  call: CreateCall,
): Promise<string | undefined> {
  const { address, zone } = target.options;
  if (address === undefined || isInternalOnly(target.options)) return undefined;
  if (/^\d+(\.\d+){3}$/.test(address)) return address;
  const region = regionOfZone(zone);
  const ownerId = ownerIdOf(target);
  const name = address === 'static' ? addressName(ownerId) : address;
  const found = await findAddress(gce, name, region);
  if (found?.address !== undefined) return found.address;
  if (address !== 'static')
    throw new SlipwayError('USAGE', `The address ${address} does not exist in ${region}`, {
      hint: 'To reserve a new one: --gce-address static',
    });
  // Not all versions of the API accept labels here.
  const addressResource = { name, addressType: 'EXTERNAL', description: formatTaggedDescription('an address', tags) };
  await createOnce(
    gce,
    {
      what: 'address',
      ownerId,
      client: 'AddressesClient',
      method: 'insert',
      request: { region, addressResource },
      isVisible: async () => (await findAddress(gce, name, region)) !== undefined,
    },
    call,
  );
  return (await findAddress(gce, name, region))?.address;
}

export function findAddress(gce: GceConnection, address: string, region: string): Promise<Address | undefined> {
  return gce.find<Address>('looking for its address', 'AddressesClient', 'get', { region, address });
}

/**
 * Deletes the address that Slipway reserved for a machine. Asks first: only few roles may delete addresses, and most
 * machines have none.
 */
export async function deleteReservedAddress(
  gce: GceConnection,
  ownerId: string,
  { address, zone }: Pick<GceOptions, 'address' | 'zone'>,
): Promise<void> {
  if (address !== 'static') return;
  const region = regionOfZone(zone);
  const name = addressName(ownerId);
  if (await findAddress(gce, name, region)) await deleteAddress(gce, name, region);
}

export async function deleteAddress(gce: GceConnection, address: string, region: string): Promise<void> {
  await runOperation(gce, 'deleting its address', 'AddressesClient', 'delete', { region, address });
}

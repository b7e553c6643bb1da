import type { Computer } from '../../computer/computer.ts';
import type { Target } from '../contract.ts';
import { getHomeId } from '../../machine/store-id.ts';

/** The three marks that everything we make at a provider carries from its first moment on. */
export type ResourceTags = {
  readonly 'slipway-id': string;
  readonly 'slipway-name': string;
  readonly 'slipway-home': string;
};

/** What one machine's resources carry; of a batch, what its one call can give to all of them. */
export async function getResourceTags({ id, name, batch }: Target<unknown>, computer: Computer): Promise<ResourceTags> {
  return {
    'slipway-id': batch?.id ?? id,
    'slipway-name': name,
    'slipway-home': await getHomeId(computer),
  };
}

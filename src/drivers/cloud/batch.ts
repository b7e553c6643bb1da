import type { LastRequest } from '../../machine/model.ts';
import type { Target } from '../contract.ts';
import { SlipwayError } from '../../errors.ts';

type BatchMember = Pick<Target<unknown>, 'id' | 'batch'>;

/** What the record says that a bulk call was about to ask for (`CreateCall.recordRequest`). */
export const BATCH_REQUEST = 'instances';

/** Returns the id that a machine's resources carry from their creation on: its batch's, or its own. */
export const ownerIdOf = ({ id, batch }: BatchMember): string => batch?.id ?? id;

/**
 * Returns every id that a machine's resources may carry: a machine of a batch that was created again alone has its own
 * ones too.
 */
export const ownerIdsOf = (target: BatchMember): readonly string[] => [...new Set([target.id, ownerIdOf(target)])];

/**
 * Returns the target whose id and name the shared resources get: of several machines the first, with its batch; of one
 * machine the machine itself without its batch, since what is created for one machine alone carries its own id.
 */
export function ownerTargetOf<O>(targets: readonly [Target<O>, ...Target<O>[]]): Target<O> {
  const [first] = targets;
  return targets.length > 1 ? first : { id: first.id, name: first.name, options: first.options };
}

/**
 * Returns the bulk request of an interrupted create, whose instances the provider may show late: a machine that is
 * created alone before they show would have two instances.
 */
export function lastBatchRequestOf({
  batch,
  lastRequest,
}: Pick<Target<unknown>, 'batch' | 'lastRequest'>): LastRequest | undefined {
  return batch && lastRequest?.what === BATCH_REQUEST ? lastRequest : undefined;
}

/**
 * A caller who may connect to one machine of a batch may connect to all of it: one machine's options can't change that.
 */
export function sharedFirewallError(name: string, firewall: string, hint: string): SlipwayError {
  return new SlipwayError('USAGE', `"${name}" shares its ${firewall} with the other machines of its batch`, { hint });
}

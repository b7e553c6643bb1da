import type { LastRequest } from '../../machine/model.ts';
import type { Target } from '../contract.ts';
import { SlipwayError } from '../../errors.ts';

type BatchMember = Pick<Target<unknown>, 'id' | 'batch'>;

/** The name under which the record stores a request for a batch (`CreateCall.recordRequest`). */
export const BATCH_REQUEST = 'instances';

/** Returns the id that a machine's resources carry from their creation on: its batch's, or its own. */
export const ownerIdOf = ({ id, batch }: BatchMember): string => batch?.id ?? id;

/**
 * Returns every id that a machine's resources may carry: if a machine of a batch was created again by itself, some of
 * them carry its own id.
 */
export const ownerIdsOf = (target: BatchMember): readonly string[] => [...new Set([target.id, ownerIdOf(target)])];

/**
 * Returns the target whose id and name the shared resources get: for several machines the first, with its batch; for
 * one machine the machine without its batch, since resources created for one machine carry its own id.
 */
export function ownerTargetOf<O>(targets: readonly [Target<O>, ...Target<O>[]]): Target<O> {
  const [first] = targets;
  return targets.length > 1 ? first : { id: first.id, name: first.name, options: first.options };
}

/**
 * Returns the request for the batch of an interrupted create, whose instances the provider may show late: creating the
 * machine by itself before they show would give it two instances.
 */
export function lastBatchRequestOf({
  batch,
  lastRequest,
}: Pick<Target<unknown>, 'batch' | 'lastRequest'>): LastRequest | undefined {
  return batch && lastRequest?.what === BATCH_REQUEST ? lastRequest : undefined;
}

/**
 * Returns the error for a change of one machine's allowed callers while other machines share its firewall: they would
 * get the same callers.
 */
export function sharedFirewallError(name: string, firewall: string, hint: string): SlipwayError {
  return new SlipwayError('USAGE', `"${name}" shares its ${firewall} with the other machines of its batch`, { hint });
}

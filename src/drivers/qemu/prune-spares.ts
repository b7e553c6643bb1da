import { join } from 'node:path';
import { deleteFile } from '../../computer/files.ts';
import { emptyTrash } from '../../computer/trash.ts';
import type { DriverCall, SpareSummary } from '../contract.ts';
import { stopBuilders } from './builds.ts';
import { listSpareIds, listSpares, removeSpareFolder, sparesFolder } from './spare-store.ts';

/**
 * Removes the spares of an image, by its digest or the beginning of it, or all spares. Also removes builds, whether
 * their builders still run or were killed. Returns the spares that were ready.
 */
export async function pruneSpares(imageDigest: string | undefined, call: DriverCall): Promise<readonly SpareSummary[]> {
  const { computer } = call;
  // The log first: a background build looks for it under the lock before it starts, and does not start without it.
  if (imageDigest === undefined) await deleteFile(join(sparesFolder(computer), 'last.log'));
  await using _lock = await stopBuilders(imageDigest, call);
  const pruned = (await listSpares(computer)).filter(
    ({ image }) => imageDigest === undefined || image.startsWith(imageDigest),
  );
  for (const { id } of pruned) await removeSpareFolder(id, computer);
  if (imageDigest !== undefined) return pruned;
  await emptyTrash(sparesFolder(computer));
  for (const id of await listSpareIds(computer)) await removeSpareFolder(id, computer);
  return pruned;
}

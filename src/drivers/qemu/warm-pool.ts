import { join } from 'node:path';
import { readFileIfExists } from '../../computer/files.ts';
import type { DriverCall, Target, WarmPool } from '../contract.ts';
import { buildSpare, findBuildObstacle } from './build-spare.ts';
import { acquireBuilderLock, cleanUpBuilds, isBuilding } from './builds.ts';
import { VM_FILES } from './command-line.ts';
import { stripTerminalSequences } from './console.ts';
import { GUEST_AGENT_LINE } from './guest-channel.ts';
import { countReadySpares, removeSurplusSpares } from './match-spares.ts';
import type { QemuOptions } from './options.ts';
import { pruneSpares } from './prune-spares.ts';
import { canSuspend } from './snapshot.ts';
import { listSpares } from './spare-store.ts';
import { takeSpare } from './take-spare.ts';
import { vmFolder } from './vm.ts';

export const warmPool: WarmPool<QemuOptions> = {
  take: takeSpare,
  make: buildSpare,
  countReady: countReadySpares,
  findObstacle: findBuildObstacle,
  lock: acquireBuilderLock,
  isWanted: isSpareWanted,
  list: listSpares,
  prune: pruneSpares,
};

async function isSpareWanted(target: Target<QemuOptions>, call: DriverCall): Promise<boolean> {
  const { computer } = call;
  if (!target.options.warm || !canSuspend(computer)) return false;
  await cleanUpBuilds(call);
  await removeSurplusSpares(call);
  if (await isBuilding(computer)) return false;
  return (
    (await hasGuestAgent(target, call)) &&
    (await findBuildObstacle(target, call)) === undefined &&
    (await countReadySpares(target, call)) === 0
  );
}

/** Returns whether a guest agent has started in the machine. Images of older versions have none. */
async function hasGuestAgent({ id }: Target<QemuOptions>, { computer }: DriverCall): Promise<boolean> {
  const console = (await readFileIfExists(join(vmFolder(computer, id), VM_FILES.console))) ?? '';
  return stripTerminalSequences(console).includes(GUEST_AGENT_LINE);
}

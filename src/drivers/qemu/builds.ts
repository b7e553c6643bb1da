/** Builds of spares by any process: lists them, stops them, and cleans up after them. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Computer } from '../../computer/computer.ts';
import { listFolderIfExists, localFileError } from '../../computer/files.ts';
import { takeLock, waitForLock } from '../../computer/lock.ts';
import { emptyTrash } from '../../computer/trash.ts';
import { canceledError, SlipwayError, systemCode } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { removeSurplusSpares, removeUnusableSpares } from './match-spares.ts';
import { giveUpVm } from './end-vm.ts';
import { pathExists, removeSpareFolder, sparesFolder } from './spare-store.ts';
import { readVm } from './vm-record.ts';

/** How long a builder may take to notice that its QEMU is gone. */
const BUILDER_EXIT_SECONDS = 30;
const BUILD_PREFIX = '.making-';
const BUILDER_LOCK_FOLDER = '.maker';
/** Tells the builder of a spare that its QEMU was killed on purpose. */
const CANCELED_FILE = 'unwanted';

export function buildFolder(computer: Computer, id: string): string {
  return join(sparesFolder(computer), `${BUILD_PREFIX}${id}`);
}

/** Returns whether any process is building a spare, of any kind. */
export async function isBuilding(computer: Computer): Promise<boolean> {
  return (await listFolderIfExists(sparesFolder(computer))).some((entry) => entry.startsWith(BUILD_PREFIX));
}

/** Returns the ids of the builds of this image, or of all. */
async function listBuilds(imageDigest: string | undefined, computer: Computer): Promise<readonly string[]> {
  const ids = [];
  for (const entry of await listFolderIfExists(sparesFolder(computer))) {
    if (!entry.startsWith(BUILD_PREFIX)) continue;
    const id = entry.slice(BUILD_PREFIX.length);
    if (imageDigest === undefined || (await mayUseImage(imageDigest, buildFolder(computer, id)))) ids.push(id);
  }
  return ids;
}

/** Returns whether a build may use this image. A VM whose record can't be read may use any image. */
async function mayUseImage(imageDigest: string, folder: string): Promise<boolean> {
  try {
    return (await readVm(folder))?.imageDigest.startsWith(imageDigest) ?? false;
  } catch (error) {
    if (error instanceof SlipwayError && error.code === 'RECORD_BROKEN') return true;
    throw error;
  }
}

/**
 * Waits for the builder lock, and cleans up before it returns the lock. Spares are built one at a time, since a boot
 * takes all that a computer has.
 */
export async function acquireBuilderLock(call: DriverCall): Promise<AsyncDisposable> {
  const folder = join(sparesFolder(call.computer), BUILDER_LOCK_FOLDER);
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localFileError(folder, error);
  });
  const lock = await waitForLock(folder, 'The pool of spares', { signal: call.signal, waiting: call.note });
  await cleanUpBuilds(call);
  await removeUnusableSpares(call);
  await removeSurplusSpares(call);
  return lock;
}

/**
 * Stops all builders of this image, or of all images, and waits for them; one that is starting a QEMU at this moment
 * may notice late. Without an image, the returned lock keeps new builders out.
 */
export async function stopBuilders(
  imageDigest: string | undefined,
  call: DriverCall,
): Promise<AsyncDisposable | undefined> {
  const { computer, signal } = call;
  const end = performance.now() + BUILDER_EXIT_SECONDS * 1000;
  for (;;) {
    const ids = await listBuilds(imageDigest, computer);
    for (const id of ids) await killBuildVm(id, call);
    try {
      for (const id of ids) await cleanUpBuild(id, call);
      const lock = imageDigest === undefined ? await takeBuilderLock(computer) : undefined;
      if ((await listBuilds(imageDigest, computer)).length === 0) return lock;
      await lock?.[Symbol.asyncDispose]();
    } catch (error) {
      if (!isBusyError(error) || performance.now() > end) throw error;
    }
    await sleep(100, undefined, { signal }).catch(() => {
      throw canceledError();
    });
  }
}

/** Takes the builder lock, or throws MACHINE_BUSY. Returns undefined if no spare was ever built. */
async function takeBuilderLock(computer: Computer): Promise<AsyncDisposable | undefined> {
  if (!(await listFolderIfExists(sparesFolder(computer))).includes(BUILDER_LOCK_FOLDER)) return undefined;
  return await takeLock(join(sparesFolder(computer), BUILDER_LOCK_FOLDER), 'The pool of spares');
}

function isBusyError(error: unknown): boolean {
  return error instanceof SlipwayError && error.code === 'MACHINE_BUSY';
}

/** Cleans up after builders that were killed, whose VMs would otherwise keep running. */
export async function cleanUpBuilds(call: DriverCall): Promise<void> {
  const { computer } = call;
  await emptyTrash(sparesFolder(computer));
  for (const id of await listBuilds(undefined, computer))
    await cleanUpBuild(id, call).catch((error: unknown) => {
      // Its builder is alive.
      if (!isBusyError(error)) throw error;
    });
}

/** Cleans up after one builder. Throws MACHINE_BUSY while the builder is alive. */
async function cleanUpBuild(id: string, call: DriverCall): Promise<void> {
  try {
    await using _lock = await takeLock(buildFolder(call.computer, id), 'The spare');
    await removeBuild(id, call);
  } catch (error) {
    // The build ended at this moment.
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

/** Kills a build's VM and removes its folder. */
export async function removeBuild(id: string, call: DriverCall): Promise<void> {
  await killBuildVm(id, call);
  await removeSpareFolder(`${BUILD_PREFIX}${id}`, call.computer);
}

async function killBuildVm(id: string, call: DriverCall): Promise<void> {
  const folder = buildFolder(call.computer, id);
  // On a full disk this fails, and the builder's error is less clear; freeing space is what matters.
  await writeFile(join(folder, CANCELED_FILE), '').catch(() => {});
  await giveUpVm('replace', { id, name: 'spare' }, folder, call);
}

/** Returns whether another command has stopped a build, or removed it already. */
export async function isBuildCanceled(folder: string): Promise<boolean> {
  return (await pathExists(join(folder, CANCELED_FILE))) || !(await pathExists(folder));
}

// A request whose answer was lost is sent again. It may have been done: then a folder exists, or a file is gone, by the
// request itself, and the answer is that it is done.
import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { systemCode } from '../../errors.ts';

/** When the first attempt can have been executed, in milliseconds since 1970. */
export type ReplayWindow = { readonly from: number; readonly to: number };

type SystemPath = string | Buffer;

/** Clocks of the machine count seconds, file systems round times, and a server runs on after its connection ended. */
const ROUNDING_MS = 1000;
const SERVER_RUNS_ON_MS = 2000;

/** Returns the window of requests that were sent, and whose connection ended, so many seconds ago. */
export function replayWindow(now: number, sentSeconds: number, lostSeconds: number): ReplayWindow {
  return { from: now - sentSeconds * 1000 - ROUNDING_MS, to: now - lostSeconds * 1000 + SERVER_RUNS_ON_MS };
}

const isWithin = (time: number, { from, to }: ReplayWindow): boolean => time >= from && time <= to;
/** File systems without a time of birth tell 0. */
const bornAt = ({ birthtimeMs, ctimeMs }: Stats): number => birthtimeMs || ctimeMs;

/** Returns the file's status, or undefined if there is none or it can't be read. */
function statusAt(path: SystemPath): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

export function isFolderMadeBefore(error: unknown, path: SystemPath, window: ReplayWindow): boolean {
  const status = systemCode(error) === 'EEXIST' ? statusAt(path) : undefined;
  return status !== undefined && status.isDirectory() && isWithin(bornAt(status), window);
}

/** Lock files are made like this, so only a file that can't be another program's counts: empty, and of that time. */
export function isFileMadeBefore(error: unknown, path: SystemPath, window: ReplayWindow): boolean {
  const status = systemCode(error) === 'EEXIST' ? statusAt(path) : undefined;
  return status !== undefined && status.isFile() && status.size === 0 && isWithin(bornAt(status), window);
}

export function isRemovedBefore(error: unknown): boolean {
  return systemCode(error) === 'ENOENT';
}

/** Moving changes the time of a file's status. */
export function isMovedBefore(error: unknown, target: SystemPath, window: ReplayWindow): boolean {
  const status = systemCode(error) === 'ENOENT' ? statusAt(target) : undefined;
  return status !== undefined && isWithin(status.ctimeMs, window);
}

export function isSymlinkMadeBefore(error: unknown, path: SystemPath, target: Buffer): boolean {
  if (systemCode(error) !== 'EEXIST') return false;
  try {
    return readlinkSync(path, 'buffer').equals(target);
  } catch {
    return false;
  }
}

export function isHardLinkMadeBefore(error: unknown, existing: SystemPath, link: SystemPath): boolean {
  if (systemCode(error) !== 'EEXIST') return false;
  const [a, b] = [statusAt(existing), statusAt(link)];
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

/**
 * Returns the part of an append that is not in the file yet. `tail` is what the file has from the place where the
 * machine saw its end; the first attempt can have written a part of it, or all.
 */
export function unwrittenPart(data: Buffer, tail: Buffer): Buffer {
  if (tail.length < data.length && data.subarray(0, tail.length).equals(tail)) return data.subarray(tail.length);
  return tail.includes(data) ? data.subarray(data.length) : data;
}

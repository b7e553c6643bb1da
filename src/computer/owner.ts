/**
 * Who holds a lock, and whether that process still runs. A home folder can be shared by containers, by computers and by
 * systems with other kernels, where the same PID means other processes. So an owner says where its PID counts, and
 * touches its file regularly for those who can't ask the system about it.
 */
import { open, readFile, readlink, utimes } from 'node:fs/promises';
import { hostname, platform } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCode } from '../errors.ts';
import { ignoreMissing } from './files.ts';
import { getProcessState, identifyProcess, type ProcessIdentity } from './process-identity.ts';

/** The content of an owner's file, as JSON. Earlier versions wrote neither `place` nor a heartbeat. */
export type Owner = ProcessIdentity & {
  readonly host: string;
  /** Where the PID counts: the boot and the PID namespace. null where the system does not tell. */
  readonly place?: string | null;
};

const BEAT_MILLISECONDS = 2000;
/** The file of an owner that is alive is not older than this. */
const FRESH_MILLISECONDS = 45_000;
/** The file of an owner that has ended does not change while it is watched for this long. */
const WATCH_MILLISECONDS = 10_000;
const POLL_MILLISECONDS = 1000;
/** How far clocks of computers that share a folder may differ before a fresh file is watched. */
const CLOCK_SKEW_MILLISECONDS = 5000;
/** The longest command of an earlier version, which has no heartbeat: it builds an image. */
const LONGEST_COMMAND_MILLISECONDS = 60 * 60_000;

/** Returns this process as an owner. */
export async function identifyOwner(): Promise<Owner> {
  const [identity, place] = await Promise.all([identifyProcess(process.pid), readPlace()]);
  return { ...identity, host: hostname(), place: place ?? null };
}

/**
 * Returns whether the owner that a file names still runs. Where its PID counts, the system knows at once. Elsewhere its
 * heartbeat decides, and a file that looks old is watched for ten seconds: after a suspend or a jump of the clock, the
 * file of an owner that is alive looks old too.
 */
export async function isOwnerAlive(owner: Owner, file: string): Promise<boolean> {
  const here = await readPlace();
  if (owner.place === undefined) return await isEarlierOwnerAlive(owner, file);
  if (here !== undefined && owner.place === here) {
    const state = await getProcessState(owner);
    if (state !== 'unknown') return state === 'running';
  }
  return await hasHeartbeat(file);
}

/** Returns where an owner runs, as the end of a clause: ` on build-7`; '' for this computer. */
export async function describePlace(owner: Owner): Promise<string> {
  if (owner.host !== hostname()) return ` on ${owner.host}`;
  const here = await readPlace();
  return owner.place == null || owner.place === here ? '' : ' in another container';
}

/**
 * Returns where a PID means the same process: in one PID namespace of one boot. undefined where that can't be asked.
 */
async function readPlace(): Promise<string | undefined> {
  if (platform() !== 'linux') return `${platform()}/${hostname()}`;
  try {
    const [boot, namespace, self] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      readlink('/proc/self/ns/pid'),
      readlink('/proc/self'),
    ]);
    // /proc may show the processes of another namespace than this process's.
    return self === String(process.pid) ? `${boot.trim()}/${namespace}` : undefined;
  } catch (error) {
    if (systemCode(error) !== undefined) return undefined;
    throw error;
  }
}

/** An earlier version compared host names only, and its owners have no heartbeat. */
async function isEarlierOwnerAlive(owner: Owner, file: string): Promise<boolean> {
  const state = await getProcessState(owner);
  if (owner.host === hostname()) return state !== 'ended';
  if (state === 'running') return true;
  const modified = await readModified(file);
  return modified !== undefined && Date.now() - modified < LONGEST_COMMAND_MILLISECONDS;
}

/** What is known of an owner's file: its age, and for how long it has not changed while it was watched. */
export type HeartbeatSample = { readonly ageMilliseconds: number; readonly unchangedMilliseconds: number };

/**
 * Returns what a file's heartbeat says of its owner; `watch` if only time can tell. An age in the future says nothing:
 * the clock was set back, or another computer's is ahead.
 */
export function judgeHeartbeat({
  ageMilliseconds,
  unchangedMilliseconds,
}: HeartbeatSample): 'alive' | 'ended' | 'watch' {
  if (ageMilliseconds >= -CLOCK_SKEW_MILLISECONDS && ageMilliseconds <= FRESH_MILLISECONDS) return 'alive';
  return unchangedMilliseconds >= WATCH_MILLISECONDS ? 'ended' : 'watch';
}

async function hasHeartbeat(file: string): Promise<boolean> {
  const first = await readModified(file);
  // Counts polls, not time: this computer may be suspended between two of them, and the owner with it.
  for (let polls = 0; ; polls += 1) {
    const modified = polls === 0 ? first : await readModified(file);
    if (modified === undefined) return false;
    if (modified !== first) return true;
    const verdict = judgeHeartbeat({
      ageMilliseconds: Date.now() - modified,
      unchangedMilliseconds: polls * POLL_MILLISECONDS,
    });
    if (verdict !== 'watch') return verdict === 'alive';
    await sleep(POLL_MILLISECONDS);
  }
}

/** Returns when a file was last touched; undefined if it is gone. Opening it makes network file systems ask again. */
async function readModified(file: string): Promise<number | undefined> {
  const handle = await ignoreMissing(open(file, 'r'));
  try {
    return (await handle?.stat())?.mtimeMs;
  } finally {
    await handle?.close();
  }
}

/** Touches an owner's file until it is stopped. It does not keep the process alive. */
export function startHeartbeat(file: string): { readonly stop: () => Promise<void> } {
  let beat = Promise.resolve();
  const touch = async (): Promise<void> => {
    const now = new Date();
    // Without a touch, others find the file old and watch it. The file is gone if one of them has taken over.
    await utimes(file, now, now).catch((error: unknown) => {
      if (systemCode(error) === undefined) throw error;
    });
  };
  const timer = setInterval(() => {
    beat = beat.then(touch);
  }, BEAT_MILLISECONDS);
  timer.unref();
  return {
    async stop() {
      clearInterval(timer);
      await beat;
    },
  };
}

/** Starts and ends the links of machines, for commands. */
import type { ChildProcess } from 'node:child_process';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sendSignal, startInBackground } from '../computer/child-process.ts';
import type { Computer } from '../computer/computer.ts';
import { deleteFile } from '../computer/files.ts';
import { findLockOwner } from '../computer/lock.ts';
import { describePlace, type Owner } from '../computer/owner.ts';
import { systemCode } from '../errors.ts';
import type { ReadyMachine } from '../machine/model.ts';
import type { Store } from '../machine/store.ts';
import type { LinkControl } from '../operations/world.ts';
import { dockerSocketPath } from './docker-socket.ts';
import { explainPort, linkStateFile, readLinkState } from './link-state.ts';
import { isLinkWanted } from './link-wanted.ts';

/** Names the log of a link that runs in the background. Without it, the command shows its lines to the user. */
export const LINK_LOG_VARIABLE = 'SLIPWAY_LINK_LOG';

const FIRST_ROUND_SECONDS = 5;
const END_SECONDS = 5;
const POLL_MILLISECONDS = 20;

type LinkContext = {
  readonly store: Store;
  readonly computer: Computer;
  /** A folder that exists as long as this user: a process keeps the folder that it runs in. */
  readonly userHome: string;
  /** How this program is started: Node, and the file that it runs. */
  readonly program: readonly [string, string];
  readonly debug: (line: string) => void;
};

export function createLinkControl(context: LinkContext): LinkControl {
  const { store, computer, debug } = context;
  const folderOf = (name: string): string => store.paths(name).link;
  const end = async (name: string): Promise<void> => {
    await endLink(folderOf(name));
    // A link that was killed leaves its socket behind, which may be outside the machine's folder.
    const socket = dockerSocketPath(store.paths(name).folder, computer.platform);
    if (computer.platform !== 'win32') await deleteFile(socket);
  };
  /** A machine works without its link, which the next command starts again. */
  const orLog = async <T>(work: Promise<T>, instead: T): Promise<T> =>
    work.catch((error: unknown) => {
      debug(`the link: ${String(error)}`);
      return instead;
    });
  return {
    start: (machine) =>
      orLog(
        isLinkWanted(machine)
          ? startAndWait(machine, context)
          : end(machine.spec.name).then((): readonly string[] => []),
        [],
      ),
    heal: (machine) =>
      orLog(
        startIfMissing(machine, context).then(() => undefined),
        undefined,
      ),
    end: (name) => orLog(end(name), undefined),
  };

  async function startAndWait(machine: ReadyMachine, how: LinkContext): Promise<readonly string[]> {
    const child = await startIfMissing(machine, how);
    if (child === undefined) return [];
    const folder = folderOf(machine.spec.name);
    const deadline = performance.now() + FIRST_ROUND_SECONDS * 1000;
    while (child.exitCode === null && performance.now() < deadline) {
      const state = await readLinkState(folder);
      if (state !== undefined && state.pid === child.pid)
        return state.ports.map((port) => explainPort(port, computer.platform)).filter((line) => line !== undefined);
      await sleep(POLL_MILLISECONDS);
    }
    return [];
  }
}

/** Starts the link of a machine in the background, unless it runs or is not wanted. */
async function startIfMissing(
  machine: ReadyMachine,
  { store, computer, userHome, program: [node, script] }: LinkContext,
): Promise<ChildProcess | undefined> {
  const { name } = machine.spec;
  const { link: folder } = store.paths(name);
  if (!isLinkWanted(machine) || (await findLockOwner(folder)) !== undefined) return undefined;
  const logFile = join(folder, 'link.log');
  const log = await openLog(folder, logFile);
  // The machine was removed at this moment.
  if (!log) return undefined;
  try {
    const child = startInBackground(node, [script, 'link', name], {
      output: log,
      cwd: userHome,
      env: { ...computer.env, [LINK_LOG_VARIABLE]: logFile },
    });
    child.once('error', () => {});
    return child;
  } finally {
    await log.close();
  }
}

/** Opens the log of a link. Returns undefined if the machine's folder is gone, and never creates it. */
async function openLog(folder: string, file: string): Promise<FileHandle | undefined> {
  try {
    await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
      if (systemCode(error) !== 'EEXIST') throw error;
    });
    return await open(file, 'a', 0o600);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function endLink(folder: string): Promise<void> {
  const owner = await findLockOwner(folder);
  // A process of another computer or container can't be signaled. It ends by itself, once its machine has.
  if (owner && (await describePlace(owner)) === '') await endProcess(owner, folder);
  await deleteFile(linkStateFile(folder));
}

async function endProcess({ pid, started }: Owner, folder: string): Promise<void> {
  const isGone = async (): Promise<boolean> => {
    const owner = await findLockOwner(folder);
    return owner?.pid !== pid || owner.started !== started;
  };
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    sendSignal(pid, signal);
    for (let end = performance.now() + END_SECONDS * 1000; performance.now() < end;) {
      if (await isGone()) return;
      await sleep(POLL_MILLISECONDS);
    }
  }
}

import type { BedHost } from '../bed/bed-host.ts';

/** The id of systemd's journal message that a unit is starting. The message's text differs between releases. */
export const UNIT_STARTING_MESSAGE_ID = '7d4958e842da4a758f6c1cdc7b36dcc5';

/** Counts the starts of the host's engine since the boot, including those that failed. */
export async function countEngineStarts(host: BedHost): Promise<number> {
  const lines = await host.runOrThrow(
    `journalctl --sync; journalctl --no-pager -q -o cat UNIT=docker.service MESSAGE_ID=${UNIT_STARTING_MESSAGE_ID} | wc -l`,
  );
  return Number(lines);
}

/** Returns the process id of the host's running dockerd. */
export async function readEnginePid(host: BedHost): Promise<number> {
  const pid = Number(await host.runOrThrow('systemctl show --property MainPID --value docker.service'));
  if (!(pid > 0)) throw new Error('no engine runs');
  return pid;
}

/** Counts the SSH logins on the host since the boot. */
export async function countLogins(host: BedHost): Promise<number> {
  return Number(
    await host.runOrThrow("journalctl --sync; journalctl --no-pager -q -o cat | grep -c 'Accepted publickey' || :"),
  );
}

/**
 * Lists everything below these folders of the host, one line each: path, type, mode, owner, time, and a file's digest.
 * If two snapshots are equal, nothing was written in between.
 */
export async function snapshotFiles(host: BedHost, ...folders: readonly string[]): Promise<readonly string[]> {
  const listed = await host.runOrThrow(
    `for folder in ${folders.join(' ')}; do [ ! -e $folder ] || find $folder -printf '%p %y %m %U:%G %T@ ' -type f -exec sha256sum {} ';' -o -print; done`,
  );
  return listed.split('\n').toSorted();
}

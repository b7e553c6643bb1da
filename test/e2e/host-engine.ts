import { cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { bedCache, type BedHost } from '../bed/bed-host.ts';
import { expectSuccess, type User } from './test-user.ts';

/** systemd's message id for "a unit is starting", because the words differ between releases. */
const UNIT_STARTING_MESSAGE_ID = '7d4958e842da4a758f6c1cdc7b36dcc5';

/** Counts how often the host's engine was started since the boot. */
export async function countEngineStartAttempts(host: BedHost): Promise<number> {
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

/** Lists the host's files below these folders: mode, owner, time and digest, one line each. */
export async function snapshotFiles(host: BedHost, ...folders: readonly string[]): Promise<readonly string[]> {
  const listed = await host.runOrThrow(
    `for folder in ${folders.join(' ')}; do [ ! -e $folder ] || find $folder -printf '%p %y %m %U:%G %T@ ' -type f -exec sha256sum {} ';' -o -print; done`,
  );
  return listed.split('\n').toSorted();
}

/** Loads a container image `tools`, which contains only a busybox, into the engine behind a docker context. */
export async function loadToolsImage(user: User, context: string): Promise<void> {
  const root = join(user.home, 'tools');
  await mkdir(join(root, 'bin'), { recursive: true });
  await cp(bedCache.busybox, join(root, 'bin', 'busybox'));
  for (const applet of ['sh', 'cat', 'echo', 'sleep', 'wget', 'httpd', 'ls', 'mkdir'])
    await symlink('busybox', join(root, 'bin', applet)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  const tar = join(user.home, 'tools.tar');
  await expectSuccess(user.run('tar', ['-cf', tar, '-C', root, '--owner=0', '--group=0', '.']));
  await expectSuccess(user.docker('--context', context, 'import', '--change', 'ENV PATH=/bin', tar, 'tools'));
}

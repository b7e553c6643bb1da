import { cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { bedCache } from '../bed/bed-host.ts';
import { expectSuccess, type User } from './test-user.ts';

/** Imports a container image `tools`, which contains nothing but busybox, into the engine of a docker context. */
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

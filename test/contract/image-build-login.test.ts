import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { buildImage } from '../../src/images/build-image.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { catchRejection } from '../fakes/catch-error.ts';

const templates = fileURLToPath(new URL('../../templates', import.meta.url));

/**
 * Records what others on this computer could read (its argv, and the files of the build), and what it would leave in
 * the new root; then fails.
 */
const MMDEBSTRAP = `#!/bin/bash
printf '%s\\n' "$@" >"$SEEN/argv"
grep -rhs '' "$(dirname "\${@: -1}")" >"$SEEN/files"
mkdir -p "$SEEN/root"
umask 022
for word; do
  if [[ $word == --setup-hook=* ]]; then sh -c "\${word#*=}" setup "$SEEN/root"; fi
done
cp -rp "$SEEN/root" "$SEEN/during"
for word; do
  if [[ $word == --customize-hook='rm "$1/etc/apt/'* ]]; then sh -c "\${word#*=}" customize "$SEEN/root"; fi
done
exit 3
`;

async function buildFrom(mirror: string, home: string): Promise<string> {
  const bin = join(home, 'bin');
  const seen = join(home, 'seen');
  for (const folder of [bin, seen, join(home, 'out')]) await mkdir(folder, { recursive: true });
  await writeFile(join(bin, 'mmdebstrap'), MMDEBSTRAP.replaceAll('$SEEN', seen));
  await chmod(join(bin, 'mmdebstrap'), 0o755);
  const computer = {
    env: { PATH: `${bin}:${process.env.PATH}`, TMPDIR: home },
    templates,
    platform: process.platform,
    arch: process.arch,
  };
  const error = await catchRejection(
    buildImage({ suite: 'trixie', arch: 'amd64', mirror, qemuImg: 'qemu-img' }, join(home, 'out'), {
      computer: computer as never,
      log: () => {},
      signal: new AbortController().signal,
    }),
  );
  expect(error).toMatchObject({ code: 'IMAGE_BUILD' });
  return seen;
}

const LOGIN_FILE = 'etc/apt/auth.conf.d/slipway.conf';

test('a login in --mirror reaches apt in a file that nobody else can read, and stays in no image', async () => {
  await using home = await createTemporaryFolder();
  const seen = await buildFrom('https://me:t%40ken@mirror.example/debian', home.path);
  const readable = [await readFile(join(seen, 'argv'), 'utf8'), await readFile(join(seen, 'files'), 'utf8')].join('\n');
  expect(readable).toContain('URIs: https://mirror.example/debian\n');
  expect(readable).not.toMatch(/t(%40|@)ken/);
  expect(await readFile(join(seen, 'during', LOGIN_FILE), 'utf8')).toBe(
    'machine mirror.example/debian login me password t@ken\n',
  );
  expect((await stat(join(seen, 'during', LOGIN_FILE))).mode & 0o777).toBe(0o600);
  await expect(stat(join(seen, 'root', LOGIN_FILE))).rejects.toMatchObject({ code: 'ENOENT' });
});

test('without a login, no file is added', async () => {
  await using home = await createTemporaryFolder();
  const seen = await buildFrom('https://mirror.example/debian', home.path);
  await expect(stat(join(seen, 'during', 'etc'))).rejects.toMatchObject({ code: 'ENOENT' });
});

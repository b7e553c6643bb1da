import { chmod, chown, cp, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { hasProgram, runProgram, type ProgramResult } from '../fakes/run-program.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const packageFolder = fileURLToPath(new URL('../../', import.meta.url));
const isRoot = process.getuid?.() === 0;
/** A user without privileges: root could read every file. */
const uid = isRoot ? 65_534 : (process.getuid?.() ?? -1);

type UserHome = AsyncDisposable & {
  readonly path: string;
  readonly run: (program: 'slipway' | 'docker-machine', ...argv: readonly string[]) => Promise<ProgramResult>;
};

/** Creates a home of that user, with a copy of the programs that the user can read. */
async function createUserHome(): Promise<UserHome> {
  const folder = await createTemporaryFolder();
  const path = join(folder.path, 'home');
  await chmod(folder.path, 0o755);
  for (const entry of ['dist', 'templates', 'package.json'])
    await cp(join(packageFolder, entry), join(folder.path, 'package', entry), { recursive: true });
  await mkdir(path);
  if (isRoot) await chown(path, uid, uid);
  return {
    path,
    run: (program, ...argv) =>
      runProgram(process.execPath, [join(folder.path, 'package', 'dist', `${program}.js`), ...argv], {
        env: { PATH: process.env.PATH, HOME: path, NO_COLOR: '1' },
        cwd: path,
        uid,
      }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** Runs the command that a hint names. As root, who needs no sudo. */
async function followHint(stderr: string, home: UserHome): Promise<void> {
  const command = /: (sudo chown .*|chmod .*)$/m.exec(stderr)?.[1] ?? 'false';
  const asRoot = command.replace('sudo ', '').replace('$(id -un)', String(uid));
  expect(await runProgram('sh', ['-c', asRoot], { env: { PATH: process.env.PATH, HOME: home.path } })).toMatchObject({
    code: 0,
  });
}

describe("a file of the user's that can't be read", () => {
  test.each([
    { program: 'slipway', call: 'ls' },
    { program: 'slipway', call: 'use --unset' },
    { program: 'slipway', call: 'create web --driver none --none-url tcp://127.0.0.1:9' },
    { program: 'slipway', call: 'active' },
    { program: 'docker-machine', call: 'ls' },
  ] as const)('is a sentence with the command that fixes it: $program $call', async ({ program, call }) => {
    const argv = call.split(' ');
    await using home = await createUserHome();
    const docker = join(home.path, '.docker');
    await mkdir(docker, { mode: 0o700 });
    await writeFile(join(docker, 'config.json'), '{}');
    // As root, the folder belongs to root, as `sudo docker` leaves it. Otherwise, the user has taken away the access.
    if (!isRoot) await chmod(docker, 0);
    const { code, stderr } = await home.run(program, ...argv);
    expect(stderr).not.toMatch(/bug in Slipway|^ +at /m);
    expect(code).toBe(program === 'slipway' ? 10 : 1);
    expect(stderr).toContain(`${docker}`);
    expect(stderr).toContain('permission denied');
    await followHint(stderr, home);
    const again = await home.run(program, ...argv);
    expect(again.stderr).not.toContain('permission denied');
  });

  test('is also one when it is a folder', async () => {
    await using home = await createUserHome();
    await mkdir(join(home.path, '.docker', 'config.json'), { recursive: true });
    if (isRoot) for (const folder of ['.docker', '.docker/config.json']) await chown(join(home.path, folder), uid, uid);
    const { code, stderr } = await home.run('slipway', 'use', '--unset');
    expect(stderr).not.toMatch(/bug in Slipway|^ +at /m);
    expect([code, stderr]).toEqual([10, expect.stringContaining(join(home.path, '.docker', 'config.json'))]);
  });
});

describe("a ~/.ssh/config that another program manages, such as Nix's home-manager,", () => {
  const CREATE = 'create web --driver none --none-url tcp://127.0.0.1:9 --profile ssh-config'.split(' ');

  test('is refused before anything is created, with the line to add, and is left alone once it has the line', async () => {
    await using home = await createUserHome();
    const [store, ssh] = [join(home.path, 'store'), join(home.path, '.ssh')];
    for (const folder of [store, ssh]) await mkdir(folder);
    await writeFile(join(store, 'config'), 'Host *\n  User ada\n');
    await symlink(join(store, 'config'), join(ssh, 'config'));
    if (isRoot) await chown(ssh, uid, uid);
    await chmod(store, 0o555);
    const refused = await home.run('slipway', ...CREATE);
    expect([refused.code, refused.stderr]).toEqual([
      10,
      expect.stringContaining(`${join(ssh, 'config')} can't be changed`),
    ]);
    expect(refused.stderr).toContain(`run the same command again: Include ${join(ssh, 'slipway')}/*.conf`);
    expect(await home.run('slipway', 'ls', '-q')).toMatchObject({ code: 0, stdout: '' });
    await chmod(store, 0o755);
    await writeFile(join(store, 'config'), 'Include ~/.ssh/slipway/*.conf\nHost *\n  User ada\n');
    await chmod(store, 0o555);
    const again = await home.run('slipway', ...CREATE);
    expect(again.stderr).not.toContain("can't be changed");
    expect(again.code).toBe(9);
    await chmod(store, 0o755);
  });
});

test.runIf(isRoot && hasProgram('chattr'))(
  'an immutable file is one with the command that allows changes',
  async () => {
    await using home = await createUserHome();
    const config = join(home.path, '.docker', 'config.json');
    await mkdir(join(home.path, '.docker'));
    await writeFile(config, '{"currentContext": "web"}');
    for (const path of [join(home.path, '.docker'), config]) await chown(path, uid, uid);
    const { code: isUnsupported } = await runProgram('chattr', ['+i', config]);
    // Some file systems, such as tmpfs and overlays of old kernels, have no such attribute.
    if (isUnsupported !== 0) return;
    try {
      const { code, stderr } = await home.run('slipway', 'use', '--unset');
      expect([code, stderr]).toEqual([10, expect.stringContaining(`sudo chattr -i ${config}`)]);
    } finally {
      await runProgram('chattr', ['-i', config]);
    }
    expect((await home.run('slipway', 'use', '--unset')).code).toBe(0);
  },
);

import { mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';
import { expectFailure } from './assertions.ts';

describeOnBed('scp', () => {
  let host: BedHost;
  let other: BedHost;
  let user: User;
  let localFolder: string;
  const scp = (...argv: readonly string[]): Promise<Outcome> =>
    user.run(process.execPath, [join(user.home, 'bin', 'slipway'), 'scp', ...argv], {
      cwd: localFolder,
      env: { TMPDIR: join(user.home, 'tmp') },
    });

  beforeAll(async () => {
    [host, other, user] = await Promise.all([
      startHost({ suite: 'trixie', engine: true }),
      startHost({ suite: 'bookworm', engine: true }),
      createUser(),
    ]);
    localFolder = join(user.home, 'here');
    await mkdir(join(user.home, 'tmp'));
    await mkdir(join(localFolder, 'tree', 'deep'), { recursive: true });
    await writeFile(join(localFolder, 'tree', 'deep', 'leaf'), 'leaf\n');
    // One of them uses another port: two machines must not share their options.
    await other.runOrThrow(`echo 'Port 2222' >/etc/ssh/sshd_config.d/port.conf; systemctl restart ssh`);
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host, 'deploy')));
    await expectSuccess(user.slipway('create', 'Other-1.example', ...hostFlags(other), '--generic-ssh-port', '2222'));
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), other[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('copies in both directions, with any file names', async () => {
    const oddName = 'it\'s "two" words; $(touch oops) & 50%';
    await writeFile(join(localFolder, oddName), 'there and back\n');
    const sent = await expectSuccess(scp(oddName, `web:${oddName}`));
    expect([sent.stdout, sent.stderr]).toEqual(['', '']);
    expect(await host.runOrThrow('ls /home/deploy')).toBe(oddName);
    expect(await host.runOrThrow('stat -c %U /home/deploy/*')).toBe('deploy');
    await expectSuccess(scp(`web:${oddName}`, './back:again'));
    expect(await readFile(join(localFolder, 'back:again'), 'utf8')).toBe('there and back\n');
    // Without a path on the host: the user's home there.
    await expectSuccess(scp('./back:again', 'web:'));
    expect(await host.runOrThrow('cat /home/deploy/back:again')).toBe('there and back');
    const json = await expectSuccess(scp('--json', 'web:/etc/os-release', '.'));
    expect(JSON.parse(json.stdout)).toEqual({ from: 'web:/etc/os-release', to: '.', status: 0 });
  });

  test('copies folders only with -r, and times and modes with -p', async () => {
    const refused = await scp('tree', 'web:/srv');
    expect(refused.code).toBe(1);
    await utimes(join(localFolder, 'tree', 'deep', 'leaf'), 1_000_000_000, 1_000_000_000);
    await expectSuccess(scp('-r', '-p', '-C', 'tree', 'web:/tmp/tree'));
    expect(await host.runOrThrow('cat /tmp/tree/deep/leaf; stat -c %Y /tmp/tree/deep/leaf')).toBe('leaf\n1000000000');
    await expectSuccess(scp('--recursive', 'web:/tmp/tree', 'again'));
    expect(await readdir(join(localFolder, 'again', 'deep'))).toEqual(['leaf']);
    expect((await stat(join(localFolder, 'again', 'deep', 'leaf'))).mtimeMs).toBeGreaterThan(1_000_000_000_000);
  });

  test('copies from one machine to another, each with its own user, port and key', async () => {
    await host.runOrThrow('echo far >/home/deploy/far; chown deploy: /home/deploy/far; chmod 600 /home/deploy/far');
    await expectSuccess(scp('web:far', 'Other-1.example:/root/near me'));
    expect(await other.runOrThrow('cat "/root/near me"')).toBe('far');
    await expectSuccess(scp('Other-1.example:/root/near me', 'web:'));
    expect(await host.runOrThrow('cat "/home/deploy/near me"')).toBe('far');
    await expectSuccess(scp('web:far', 'web:farther'));
    expect(await host.runOrThrow('cat /home/deploy/farther')).toBe('far');
    expect(await readdir(join(user.home, 'tmp'))).toEqual([]);
  });

  test("passes on scp's exit status and messages", async () => {
    const missing = await scp('web:/no/such', '.');
    expect([missing.code, missing.stdout]).toEqual([1, '']);
    expect(missing.stderr).toContain('/no/such');
    const forbidden = await scp('tree/deep/leaf', 'web:/etc/leaf');
    expect([forbidden.code, forbidden.stderr]).toEqual([1, expect.stringContaining('Permission denied')]);
  });

  test('explains what it cannot do', async () => {
    expect(await expectFailure(scp('tree', './a:b'))).toMatchObject({
      status: 2,
      sentence: 'Neither path names a machine: expected NAME:path',
      hint: 'For example: slipway scp Other-1.example:/etc/os-release .',
    });
    expect(await expectFailure(scp('wbe:/etc/hosts', '.'))).toMatchObject({
      status: 3,
      sentence: 'Machine "wbe" does not exist',
    });
    expect((await expectFailure(scp('root@web:/etc/hosts', '.'))).sentence).toContain('root@web');
    await expectSuccess(
      user.slipway('create', 'socket', '--driver', 'none', '--none-url', 'unix:///var/run/docker.sock'),
    );
    expect((await expectFailure(scp('socket:/etc/hosts', '.'))).sentence).toContain('"socket" has no SSH');
    const withoutScp = await user.run(process.execPath, [join(user.home, 'bin', 'slipway'), 'scp', 'tree', 'web:'], {
      env: { PATH: '/nowhere' },
    });
    expect(await expectFailure(withoutScp)).toMatchObject({
      status: 4,
      sentence: 'The program scp is not installed on this computer',
    });
  });

  // This test is last because it changes the host's key.
  test('neither sends files to nor receives them from a host with another host key', async () => {
    await host.runOrThrow('rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh');
    for (const argv of [
      ['tree/deep/leaf', 'web:/tmp/reached'],
      ['Other-1.example:/etc/hostname', 'web:/tmp/reached'],
      ['web:/etc/hostname', 'reached'],
      ['web:/etc/hostname', 'Other-1.example:/tmp/reached'],
    ]) {
      const refused = await scp(...argv);
      expect(refused.code, argv.join(' ')).not.toBe(0);
      expect(refused.stderr, argv.join(' ')).toContain('Host key verification failed');
    }
    expect((await host.exec('test -e /tmp/reached')).code).toBe(1);
    expect((await other.exec('test -s /tmp/reached')).code).toBe(1);
    expect(await readdir(localFolder)).not.toContain('reached');
  });
});

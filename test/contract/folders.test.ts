import { once } from 'node:events';
import { mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { REQUEST } from '../../src/link/folders/sftp-packets.ts';
import { createFolderServer } from '../../src/link/folders/sftp-server.ts';
import { findMountProblem, mountFolder, type MountedFolder } from '../fakes/mounted-folder.ts';
import { startScript } from '../fakes/script-process.ts';
import { connectClient } from '../fakes/sftp-client.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const WAIT_MS = 240_000;

/** Kills and restarts the server this many times, with a pause in which the work goes on. */
async function killRepeatedly(folder: MountedFolder, times: number): Promise<void> {
  for (let count = 0; count < times; count += 1) {
    await sleep(200);
    await folder.killServer();
    await folder.startServer();
  }
}

describe.skipIf(findMountProblem() !== undefined)('a shared folder, mounted with sshfs', { timeout: WAIT_MS }, () => {
  test('does what programs expect of files', async () => {
    await using folder = await mountFolder();
    const { stdout, stderr, code } = await folder.run(`
      mkdir -p a/b; echo one >a/b/file; chmod 640 a/b/file; stat -c %a a/b/file
      ln -s b/file a/link; cat a/link; readlink a/link
      ln a/b/file a/hard
      mkdir a/bin; ln -s ../b/file a/bin/up; cat a/bin/up; rm -r a/bin
      echo two >new; mv new a/b/file; cat a/b/file a/hard
      echo more >>a/b/file; wc -l <a/b/file
      truncate -s 3 a/b/file; stat -c %s a/b/file
      mkdir a/b 2>&1 | sed 's/.*: //'
      rmdir a 2>&1 | sed 's/.*: //'
      cat missing 2>&1 | sed 's/.*: //'
      mkdir moved; mv moved a/moved; ls a; rm -r a; ls
      printf x >'back\\slash and "quote" ü'; ls
      chmod 4755 back*; stat -c %a back*
      chown 12:12 back*
      df . | tail -1 | cut -d' ' -f1
    `);
    expect([code, stderr]).toEqual([0, '']);
    const expected = ['640', 'one', 'b/file', 'one', 'two', 'one', '2', '3', 'File exists', 'Directory not empty'];
    expected.push(
      'No such file or directory',
      'b',
      'hard',
      'link',
      'moved',
      'back\\slash and "quote" ü',
      '755',
      'slipway',
    );
    expect(stdout.trimEnd().split('\n')).toEqual(expected);
  });

  test('serves no symbolic link and no secret folder', async () => {
    await using folder = await mountFolder();
    await writeFile(join(folder.work, 'outside'), 'outside');
    await mkdir(join(folder.source, '.ssh'));
    await writeFile(join(folder.source, '.ssh/id_ed25519'), 'key');
    await symlink(folder.work, join(folder.source, 'out'));
    // The mount's own path exists on this computer, so a link that the machine resolves is tried without the machine.
    const { stdout } = await folder.run(`
      ls -A | sort | tr '\\n' ' '
      cat .ssh/id_ed25519 2>&1 | sed 's/.*: //'
      mv .ssh mine 2>&1 | sed 's/.*: //'
      rm -r .ssh 2>&1 | sed 's/.*: //'
      readlink out
    `);
    const denied = 'Permission denied';
    expect(stdout.split('\n')).toEqual(['.ssh out ' + denied, denied, denied, folder.work, '']);
  });

  test('loses nothing while its server is killed ten times', async () => {
    await using folder = await mountFolder();
    const work = folder.run(`
      exec 5>>log
      failed=0
      for n in $(seq 600); do
        mkdir "d$n" && echo "content $n" >"d$n/new" && mv "d$n/new" "d$n/file" || failed=$((failed + 1))
        [ "$(cat "d$n/file")" = "content $n" ] || failed=$((failed + 1))
        echo "line $n" >&5
        ln -s file "d$n/link" && rm "d$n/link" || failed=$((failed + 1))
        sleep 0.003
      done
      echo "failed $failed"
    `);
    await killRepeatedly(folder, 10);
    const { stdout, stderr } = await work;
    expect([stdout, stderr]).toEqual(['failed 0\n', '']);
    expect((await readdir(folder.source)).length).toBe(601);
    const log = await readFile(join(folder.source, 'log'), 'utf8');
    expect(log).toBe(Array.from({ length: 600 }, (_, index) => `line ${index + 1}\n`).join(''));
  });

  test('lists ten thousand files once each while its server is killed', async () => {
    await using folder = await mountFolder();
    for (let part = 0; part < 4; part += 1) {
      const names = Array.from({ length: 2500 }, (_, index) => join(folder.source, `${part}`, `name-${index}`));
      await mkdir(join(folder.source, `${part}`));
      await Promise.all(names.map((name) => writeFile(name, '')));
    }
    const lists = folder.run(
      `for n in 1 2 3 4 5 6; do find . -type f | sort | uniq | wc -l; find . -type f | wc -l; sleep 1.1; done`,
    );
    await killRepeatedly(folder, 8);
    expect((await lists).stdout).toBe('10000\n'.repeat(12));
  });

  test('keeps git and sqlite intact, and times that the machine only read', async () => {
    await using folder = await mountFolder();
    await writeFile(join(folder.source, 'kept'), 'x');
    const time = new Date('2026-01-02T03:04:05.678Z');
    await utimes(join(folder.source, 'kept'), time, time);
    const work = folder.run(`
      touch -m -d @$(stat -c %Y kept) kept
      git init -q repository && cd repository
      git config user.email a@b.c && git config user.name a
      for n in $(seq 40); do echo $n >file-$n; done
      git add . && git commit -qm one && git status --porcelain && git log --oneline | wc -l
      git gc -q && git fsck 2>&1 | grep -c error || true
      python3 - <<'END'
import sqlite3
for mode in ('delete', 'wal'):
    database = sqlite3.connect(mode + '.db')
    print(database.execute('pragma journal_mode=' + mode).fetchone()[0])
    database.execute('create table t (n integer)')
    for n in range(60):
        with database:
            database.execute('insert into t values (?)', (n,))
    print(database.execute('select count(*), sum(n) from t').fetchone(), database.execute('pragma integrity_check').fetchone()[0])
    database.close()
END
    `);
    await killRepeatedly(folder, 3);
    const { stdout, stderr, code } = await work;
    expect([code, stderr]).toEqual([0, '']);
    const counted = '(60, 1770) ok';
    expect(stdout.split('\n')).toEqual(['1', '0', 'delete', counted, 'wal', counted, '']);
    expect((await stat(join(folder.source, 'kept'))).mtimeMs).toBeCloseTo(time.getTime(), 0);
  });

  test('carries 200 MB both ways unchanged while its server is killed', async () => {
    await using folder = await mountFolder();
    const work = folder.run(`
      head -c 200000000 /dev/urandom >../big; cp ../big big; cmp ../big big && cat big | cmp - ../big && echo same
    `);
    await killRepeatedly(folder, 5);
    expect(await work).toMatchObject({ stdout: 'same\n', stderr: '' });
  });

  test('fails with an error after a while without a server, and works again when there is one', async () => {
    await using folder = await mountFolder({ waitSeconds: 2 });
    await folder.run('echo one >file');
    const work = folder.run('sleep 1.2; cat file');
    await sleep(500);
    await folder.killServer();
    expect((await work).stderr).toMatch(/Input\/output error/);
    await folder.startServer();
    expect((await folder.run('sleep 1.2; cat file')).stdout).toBe('one\n');
  });

  test('goes on where a server was frozen', async () => {
    await using folder = await mountFolder();
    const server = folder.serverProcess();
    server.kill('SIGSTOP');
    const work = folder.run('echo one >file; cat file');
    await sleep(1500);
    server.kill('SIGCONT');
    expect((await work).stdout).toBe('one\n');
    await folder.killServer();
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
  });
});

const isLinux = process.platform === 'linux';

describe.skipIf(!isLinux)('a folder that another program replaces by a symbolic link', () => {
  test('never leads a request outside', { timeout: WAIT_MS }, async () => {
    await using folder = await createTemporaryFolder();
    const [shared, outside] = [join(folder.path, 'shared'), join(folder.path, 'outside')];
    for (const path of [join(shared, 'real'), outside]) await mkdir(path, { recursive: true });
    await writeFile(join(shared, 'real/file'), 'inside');
    await writeFile(join(outside, 'file'), 'outside');
    const swap = `
      import { renameSync, symlinkSync, unlinkSync } from 'node:fs';
      for (;;) {
        renameSync('${shared}/real', '${shared}/away');
        symlinkSync('${outside}', '${shared}/real');
        unlinkSync('${shared}/real');
        renameSync('${shared}/away', '${shared}/real');
      }`;
    const swapper = await startScript(swap, folder.path);
    const server = createFolderServer({
      folders: [{ folder: shared, machinePath: '/shared', isReadOnly: false }],
      secretFolders: [],
    });
    const client = connectClient(server);
    const texts = new Set<string>();
    for (const end = Date.now() + 4000; Date.now() < end;) {
      const { text: handle } = await client.request(REQUEST.open, '/shared/real/file', 1, 0);
      if (handle !== '') texts.add((await client.request(REQUEST.read, handle, 0, 0, 100)).text);
      if (handle !== '') await client.request(REQUEST.close, handle);
      await client.request(REQUEST.mkdir, '/shared/real/made', 0);
      await client.request(REQUEST.remove, '/shared/real/file-of-others');
      await client.request(REQUEST.symlink, 'target', '/shared/real/link');
    }
    swapper.process.kill('SIGKILL');
    await swapper.ended;
    server.close();
    expect([...texts]).toEqual(['inside']);
    expect(await readdir(outside)).toEqual(['file']);
  });
});

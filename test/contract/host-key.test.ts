import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { fingerprint, knownHostsLine } from '../../src/ssh/host-key.ts';
import { findKnownKeys, type KnownKeys } from '../../src/ssh/user-known-hosts.ts';
import type { SshHop } from '../../src/machine/model.ts';
import { isPosix, withSlashes } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { hasProgram, runProgram } from '../fakes/run-program.ts';

/** A user without rights. */
const NOBODY = 65_534;
const KEY_TYPES = ['ed25519', 'ecdsa', 'rsa'] as const;
const nothingBut = (keys: Partial<KnownKeys>): KnownKeys => ({ known: [], revoked: [], unverifiable: [], ...keys });
const hop = (address: string, port = 22): SshHop => ({ address, port, user: 'root' });

async function createKey(kind: string, folder: string): Promise<string> {
  const file = join(folder, kind);
  await runProgram('ssh-keygen', ['-q', '-t', kind, '-N', '', '-C', 'a comment', '-f', file]);
  return (await readFile(`${file}.pub`, 'utf8')).split(' ').slice(0, 2).join(' ');
}

describe.skipIf(!hasProgram('ssh-keygen'))('as in OpenSSH,', () => {
  test.each(KEY_TYPES)('the fingerprint of a key of type %s is the same', async (kind) => {
    await using folder = await createTemporaryFolder();
    const key = await createKey(kind, folder.path);
    const { stdout } = await runProgram('ssh-keygen', ['-lf', join(folder.path, `${kind}.pub`)]);
    expect(fingerprint(key)).toBe(stdout.split(' ')[1]);
  });

  test('a host is known by name, by port, by pattern and by hashed entry, with all of its keys', async () => {
    await using home = await createTemporaryFolder();
    const [first = '', second = ''] = await Promise.all(KEY_TYPES.map((kind) => createKey(kind, home.path)));
    await mkdir(join(home.path, '.ssh'));
    const file = join(home.path, '.ssh', 'known_hosts');
    const plain = [
      `web.slipway.test,10.255.0.1 ${first} a comment`,
      `web.slipway.test ${second}`,
      `[port.slipway.test]:2222 ${second}`,
      `@revoked bad.slipway.test ${first}`,
      `@cert-authority *.ca.slipway.test ${first}`,
    ];
    const findAll = async (): Promise<readonly (readonly string[])[]> =>
      Promise.all(
        [hop('web.slipway.test'), hop('10.255.0.1'), hop('port.slipway.test', 2222), hop('port.slipway.test')].map(
          async (at) => (await findKnownKeys(at, home.path)).known,
        ),
      );
    await writeFile(file, `${plain.join('\n')}\n*.wild.slipway.test ${first}\n`);
    expect(await findAll()).toEqual([[first, second], [first], [second], []]);
    expect(await findKnownKeys(hop('a.wild.slipway.test'), home.path)).toEqual(nothingBut({ known: [first] }));
    expect(await findKnownKeys(hop('bad.slipway.test'), home.path)).toEqual(nothingBut({ revoked: [first] }));
    expect(await findKnownKeys(hop('bad.slipway.test', 2222), home.path)).toEqual(nothingBut({ revoked: [first] }));
    expect(await findKnownKeys(hop('x.ca.slipway.test'), home.path)).toEqual(
      nothingBut({
        unverifiable: [
          `${file} trusts a certificate authority for x.ca.slipway.test, and Slipway can't verify certificates`,
        ],
      }),
    );
    await runProgram('ssh-keygen', ['-H', '-f', file]);
    expect(await readFile(file, 'utf8')).not.toContain('web.slipway.test');
    expect(await findAll()).toEqual([[first, second], [first], [second], []]);
  });

  test("Slipway's own known_hosts lines are found", async () => {
    await using home = await createTemporaryFolder();
    await mkdir(join(home.path, '.ssh'));
    const hostKey = await createKey('ed25519', home.path);
    for (const at of [hop('10.255.0.1'), hop('10.255.0.1', 2222), hop('2001:db8::1'), hop('2001:db8::1', 2222)]) {
      await writeFile(join(home.path, '.ssh', 'known_hosts'), knownHostsLine({ ...at, hostKey }));
      expect(await findKnownKeys(at, home.path)).toEqual(nothingBut({ known: [hostKey] }));
    }
  });

  test('each of its answers about many lines is the same', async () => {
    await using home = await createTemporaryFolder();
    await mkdir(join(home.path, '.ssh'));
    const keys = await Promise.all(KEY_TYPES.map((kind) => createKey(kind, home.path)));
    const file = join(home.path, '.ssh', 'known_hosts');
    const patterns = [
      'web.test',
      'WEB.Test',
      '*.test',
      '*.test,!db.test',
      '!db.test,*.test',
      '!*',
      'w?b.test',
      'w?b',
      '[web.test]:22',
      '[*.test]:2222',
      '[web.test]:*',
      '192.0.2.*',
      '2001:db8::1',
      'web.test,192.0.2.1',
      'web.test, 192.0.2.1',
      'web*test*',
      '\tweb.test',
      '# web.test',
      'web.tes',
      '[w]eb.test',
      'web\\.test',
    ];
    const lines = patterns.flatMap((pattern, index) => [
      `${pattern} ${keys[index % keys.length]} a comment`,
      `@revoked ${pattern}\t${keys[(index + 1) % keys.length]}`,
    ]);
    await writeFile(
      file,
      `${lines.join('\n')}\nweb.test 1024 35 1234567\nweb.test ssh-ed25519\n@other web.test ${keys[0]}`,
    );
    for (const at of [
      hop('web.test'),
      hop('Web.TEST'),
      hop('db.test'),
      hop('web.test', 2222),
      hop('192.0.2.1'),
      hop('192.0.2.1', 2222),
      hop('2001:db8::1'),
      hop('other'),
    ]) {
      const name = at.port === 22 ? at.address : `[${at.address}]:${at.port}`;
      // It exits with status 1 if it finds nothing.
      const { stdout } = await runProgram('sh', ['-c', 'ssh-keygen -F "$1" -f "$2" || true', 'sh', name, file]);
      const found = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
      const keyOf = (line: string): string =>
        line
          .trim()
          .replace(/^@revoked\s+/, '')
          .split(/\s+/)
          .slice(1, 3)
          .join(' ');
      const answer = await findKnownKeys(at, home.path);
      expect([name, ...answer.known]).toEqual([name, ...found.filter((line) => !line.startsWith('@')).map(keyOf)]);
      if (at.port === 22)
        expect([name, ...answer.revoked]).toEqual([
          name,
          ...found.filter((line) => line.startsWith('@revoked')).map(keyOf),
        ]);
    }
  });
});

/** A public key as `type base64`, made without a program. */
function randomKey(): string {
  const fields = [Buffer.from('ssh-ed25519'), randomBytes(32)];
  const blob = Buffer.concat(fields.flatMap((field) => [Buffer.from([0, 0, 0, field.length]), field]));
  return `ssh-ed25519 ${blob.toString('base64')}`;
}

describe('without ssh-keygen, as in slim containers,', () => {
  const [first, second, third, fourth, fifth] = Array.from({ length: 5 }, randomKey) as [
    string,
    string,
    string,
    string,
    string,
  ];

  /** Writes files below a home and a system folder, and asks for a host with no program in the PATH. */
  async function ask(files: Readonly<Record<string, string>>, at = hop('web.test')): Promise<KnownKeys> {
    await using home = await createTemporaryFolder();
    const folders = { user: join(home.path, '.ssh'), system: join(home.path, 'etc') };
    await mkdir(join(folders.system, 'ssh_config.d'), { recursive: true });
    await mkdir(join(folders.user, 'conf.d'), { recursive: true });
    for (const [name, text] of Object.entries(files))
      await writeFile(join(home.path, name), text.replaceAll('HOME', home.path));
    vi.stubEnv('PATH', '/nowhere');
    try {
      const found = await findKnownKeys(at, home.path, folders);
      return {
        ...found,
        unverifiable: found.unverifiable.map((text) => withSlashes(text.replaceAll(home.path, 'HOME'))),
      };
    } finally {
      vi.unstubAllEnvs();
    }
  }

  test('a host is known by its name and by a hashed entry', async () => {
    // Made by ssh-keygen -H for 192.168.1.61.
    const hashed = '|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=';
    expect(await ask({ '.ssh/known_hosts': `192.168.1.61 ${first}\n` }, hop('192.168.1.61'))).toEqual(
      nothingBut({ known: [first] }),
    );
    expect(await ask({ '.ssh/known_hosts': `${hashed} ${first}\n` }, hop('192.168.1.61'))).toEqual(
      nothingBut({ known: [first] }),
    );
  });

  test("all four usual files count, the system's too", async () => {
    expect(
      await ask({
        '.ssh/known_hosts': `web.test ${first}\n`,
        '.ssh/known_hosts2': `web.test ${second}\n`,
        'etc/ssh_known_hosts': `web.test ${third}\n@revoked * ${fifth}`,
        'etc/ssh_known_hosts2': `web.test ${fourth}\r\n`,
      }),
    ).toEqual(nothingBut({ known: [first, second, third, fourth], revoked: [fifth] }));
  });

  test("ssh's configuration names other files, for the hosts that it is for", async () => {
    const files = {
      '.ssh/config': [
        'Host db.test',
        '  UserKnownHostsFile ~/db',
        'Host !other.test *.test',
        '  UserKnownHostsFile = "HOME/first file" ~/.ssh/%h-%p',
        'Host *',
        '  UserKnownHostsFile ~/never',
        'Include conf.d/*.conf',
        'GlobalKnownHostsFile none',
      ].join('\n'),
      'etc/ssh_config': 'Include ssh_config.d/*.conf\nHost *\n  RevokedHostKeys HOME/etc/late\n',
      'etc/ssh_config.d/keys.conf': 'RevokedHostKeys HOME/etc/revoked # a comment\n',
      'etc/revoked': `${fifth} a comment\n`,
      'first file': `web.test ${first}\n`,
      '.ssh/web.test-22': `web.test ${second}\n`,
      '.ssh/known_hosts': `web.test ${third}\n`,
      db: `web.test ${third}\n`,
      never: `web.test ${third}\n`,
      'etc/ssh_known_hosts': `web.test ${third}\n`,
    };
    expect(await ask(files)).toEqual(nothingBut({ known: [first, second], revoked: [fifth] }));
  });

  test('an included file can name them, and a HostKeyAlias the host', async () => {
    expect(
      await ask(
        {
          '.ssh/config': 'Include conf.d/*.conf',
          '.ssh/conf.d/a.conf': 'Match host web.test user root\n  HostKeyAlias fleet\n',
          '.ssh/conf.d/.hidden.conf': 'HostKeyAlias hidden\n',
          '.ssh/known_hosts': `fleet ${first}\n[web.test]:2222 ${second}\n`,
        },
        hop('web.test', 2222),
      ),
    ).toEqual(nothingBut({ known: [first] }));
  });

  test('where only ssh can tell whether a setting applies, all files count', async () => {
    expect(
      await ask({
        '.ssh/config': 'Match exec "test -e /somewhere"\n  UserKnownHostsFile ~/at-work\n',
        'at-work': `web.test ${first}\n`,
        '.ssh/known_hosts': `web.test ${second}\n`,
      }),
    ).toEqual(nothingBut({ known: [first, second] }));
  });

  test.each<[string, Readonly<Record<string, string>>, string]>([
    [
      'a certificate authority',
      { '.ssh/known_hosts': `@cert-authority *.test ${first}\n` },
      "HOME/.ssh/known_hosts trusts a certificate authority for web.test, and Slipway can't verify certificates",
    ],
    [
      'a command that knows keys',
      { '.ssh/config': 'KnownHostsCommand /usr/bin/sss_ssh_knownhosts %H' },
      'Your ssh configuration asks a KnownHostsCommand for host keys, which Slipway does not run',
    ],
    [
      'a file that only ssh can find',
      { '.ssh/config': 'UserKnownHostsFile ~/${SITE}/known_hosts' },
      'Only ssh knows which file its configuration means by ~/${SITE}/known_hosts',
    ],
    [
      'a binary list of revoked keys',
      { '.ssh/config': 'RevokedHostKeys ~/krl', krl: 'SSHKRL\n\0' },
      "HOME/krl is a binary list of revoked keys, which Slipway can't read",
    ],
  ])('%s is no silence', async (_what, files, reason) => {
    expect(await ask(files)).toEqual(nothingBut({ unverifiable: [reason] }));
  });

  test('a file that is a folder is no silence', async () => {
    await using home = await createTemporaryFolder();
    const file = join(home.path, '.ssh', 'known_hosts');
    await mkdir(file, { recursive: true });
    expect((await findKnownKeys(hop('web.test'), home.path)).unverifiable).toEqual([`${file} can't be read (EISDIR)`]);
  });

  test.runIf(isPosix)('a file without access is no silence', async () => {
    await using home = await createTemporaryFolder();
    const file = join(home.path, '.ssh', 'known_hosts');
    await mkdir(join(home.path, '.ssh'));
    await writeFile(file, '');
    await chmod(file, 0);
    // Root may read every file, so the test does without its rights.
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) for (const path of [home.path, join(home.path, '.ssh'), file]) await chown(path, NOBODY, NOBODY);
    if (isRoot) process.seteuid?.(NOBODY);
    try {
      expect((await findKnownKeys(hop('web.test'), home.path)).unverifiable).toEqual([
        `${file} can't be read (EACCES)`,
      ]);
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });
});

test('no host is known without a known_hosts file', async () => {
  await using home = await createTemporaryFolder();
  expect(await findKnownKeys(hop('none.slipway.test'), home.path)).toEqual(nothingBut({}));
});

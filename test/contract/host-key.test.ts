import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fingerprint, knownHostsLine, knownKeys } from '../../src/ssh/host-key.ts';
import type { SshHop } from '../../src/machine/model.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { has, run } from '../fakes/programs.ts';

const KINDS = ['ed25519', 'ecdsa', 'rsa'] as const;
const hop = (address: string, port = 22): SshHop => ({ address, port, user: 'root' });

async function newKey(kind: string, folder: string): Promise<string> {
  const file = join(folder, kind);
  await run('ssh-keygen', ['-q', '-t', kind, '-N', '', '-C', 'a comment', '-f', file]);
  return (await readFile(`${file}.pub`, 'utf8')).split(' ').slice(0, 2).join(' ');
}

describe.skipIf(!has('ssh-keygen'))('as OpenSSH sees it,', () => {
  test.each(KINDS)('the fingerprint of a key of kind %s is the same', async (kind) => {
    await using folder = await temporaryFolder();
    const key = await newKey(kind, folder.path);
    const { stdout } = await run('ssh-keygen', ['-lf', join(folder.path, `${kind}.pub`)]);
    expect(fingerprint(key)).toBe(stdout.split(' ')[1]);
  });

  test('a host is known by name, by port, by pattern and by hashed entry, with all of its keys', async () => {
    await using home = await temporaryFolder();
    const [one = '', two = ''] = await Promise.all(KINDS.map((kind) => newKey(kind, home.path)));
    await mkdir(join(home.path, '.ssh'));
    const file = join(home.path, '.ssh', 'known_hosts');
    const plain = [
      `web.slipway.test,10.255.0.1 ${one} a comment`,
      `web.slipway.test ${two}`,
      `[port.slipway.test]:2222 ${two}`,
      `@revoked bad.slipway.test ${one}`,
      `@cert-authority *.ca.slipway.test ${one}`,
    ];
    const all = async (): Promise<readonly (readonly string[])[]> =>
      Promise.all(
        [hop('web.slipway.test'), hop('10.255.0.1'), hop('port.slipway.test', 2222), hop('port.slipway.test')].map(
          async (at) => (await knownKeys(at, home.path)).known,
        ),
      );
    await writeFile(file, `${plain.join('\n')}\n*.wild.slipway.test ${one}\n`);
    expect(await all()).toEqual([[one, two], [one], [two], []]);
    expect(await knownKeys(hop('a.wild.slipway.test'), home.path)).toEqual({ known: [one], revoked: [] });
    expect(await knownKeys(hop('bad.slipway.test'), home.path)).toEqual({ known: [], revoked: [one] });
    expect(await knownKeys(hop('x.ca.slipway.test'), home.path)).toEqual({ known: [], revoked: [] });
    await run('ssh-keygen', ['-H', '-f', file]);
    expect(await readFile(file, 'utf8')).not.toContain('web.slipway.test');
    expect(await all()).toEqual([[one, two], [one], [two], []]);
  });

  test('our own known_hosts lines are found again', async () => {
    await using home = await temporaryFolder();
    await mkdir(join(home.path, '.ssh'));
    const hostKey = await newKey('ed25519', home.path);
    for (const at of [hop('10.255.0.1'), hop('10.255.0.1', 2222), hop('2001:db8::1'), hop('2001:db8::1', 2222)]) {
      await writeFile(join(home.path, '.ssh', 'known_hosts'), knownHostsLine({ ...at, hostKey }));
      expect(await knownKeys(at, home.path)).toEqual({ known: [hostKey], revoked: [] });
    }
  });
});

test('a user without known_hosts knows no host', async () => {
  await using home = await temporaryFolder();
  expect(await knownKeys(hop('none.slipway.test'), home.path)).toEqual({ known: [], revoked: [] });
});

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fingerprint, knownHostsLine, findKnownKeys } from '../../src/ssh/host-key.ts';
import type { SshHop } from '../../src/machine/model.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { hasProgram, runProgram } from '../fakes/run-program.ts';

const KEY_TYPES = ['ed25519', 'ecdsa', 'rsa'] as const;
const hop = (address: string, port = 22): SshHop => ({ address, port, user: 'root' });

async function createKey(kind: string, folder: string): Promise<string> {
  const file = join(folder, kind);
  await runProgram('ssh-keygen', ['-q', '-t', kind, '-N', '', '-C', 'a comment', '-f', file]);
  return (await readFile(`${file}.pub`, 'utf8')).split(' ').slice(0, 2).join(' ');
}

describe.skipIf(!hasProgram('ssh-keygen'))('as OpenSSH sees it,', () => {
  test.each(KEY_TYPES)('the fingerprint of a key of kind %s is the same', async (kind) => {
    await using folder = await createTemporaryFolder();
    const key = await createKey(kind, folder.path);
    const { stdout } = await runProgram('ssh-keygen', ['-lf', join(folder.path, `${kind}.pub`)]);
    expect(fingerprint(key)).toBe(stdout.split(' ')[1]);
  });

  test('a host is known by name, by port, by pattern and by hashed entry, with all of its keys', async () => {
    await using home = await createTemporaryFolder();
    const [one = '', two = ''] = await Promise.all(KEY_TYPES.map((kind) => createKey(kind, home.path)));
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
          async (at) => (await findKnownKeys(at, home.path)).known,
        ),
      );
    await writeFile(file, `${plain.join('\n')}\n*.wild.slipway.test ${one}\n`);
    expect(await all()).toEqual([[one, two], [one], [two], []]);
    expect(await findKnownKeys(hop('a.wild.slipway.test'), home.path)).toEqual({ known: [one], revoked: [] });
    expect(await findKnownKeys(hop('bad.slipway.test'), home.path)).toEqual({ known: [], revoked: [one] });
    expect(await findKnownKeys(hop('x.ca.slipway.test'), home.path)).toEqual({ known: [], revoked: [] });
    await runProgram('ssh-keygen', ['-H', '-f', file]);
    expect(await readFile(file, 'utf8')).not.toContain('web.slipway.test');
    expect(await all()).toEqual([[one, two], [one], [two], []]);
  });

  test('our own known_hosts lines are found again', async () => {
    await using home = await createTemporaryFolder();
    await mkdir(join(home.path, '.ssh'));
    const hostKey = await createKey('ed25519', home.path);
    for (const at of [hop('10.255.0.1'), hop('10.255.0.1', 2222), hop('2001:db8::1'), hop('2001:db8::1', 2222)]) {
      await writeFile(join(home.path, '.ssh', 'known_hosts'), knownHostsLine({ ...at, hostKey }));
      expect(await findKnownKeys(at, home.path)).toEqual({ known: [hostKey], revoked: [] });
    }
  });
});

test('a user without known_hosts knows no host', async () => {
  await using home = await createTemporaryFolder();
  expect(await findKnownKeys(hop('none.slipway.test'), home.path)).toEqual({ known: [], revoked: [] });
});

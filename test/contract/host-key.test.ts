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
    expect(await findKnownKeys(hop('a.wild.slipway.test'), home.path)).toEqual({ known: [first], revoked: [] });
    expect(await findKnownKeys(hop('bad.slipway.test'), home.path)).toEqual({ known: [], revoked: [first] });
    expect(await findKnownKeys(hop('x.ca.slipway.test'), home.path)).toEqual({ known: [], revoked: [] });
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
      expect(await findKnownKeys(at, home.path)).toEqual({ known: [hostKey], revoked: [] });
    }
  });
});

test('no host is known without a known_hosts file', async () => {
  await using home = await createTemporaryFolder();
  expect(await findKnownKeys(hop('none.slipway.test'), home.path)).toEqual({ known: [], revoked: [] });
});

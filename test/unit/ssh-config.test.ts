import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Computer } from '../../src/computer/computer.ts';
import { listSshKeys, listSshConfigHosts } from '../../src/ssh/openssh-files.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

async function createUser(config?: string) {
  const folder = await createTemporaryFolder();
  await mkdir(join(folder.path, '.ssh'));
  if (config !== undefined) await writeFile(join(folder.path, '.ssh', 'config'), config);
  const computer: Computer = {
    platform: 'linux',
    arch: 'x64',
    env: { HOME: folder.path },
    home: join(folder.path, '.slipway'),
    templates: '',
  };
  return { ...folder, computer, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

describe('hosts of ~/.ssh/config', () => {
  test('are listed with the values that ssh would use, without patterns', async () => {
    await using user = await createUser(
      [
        'Host web db-1',
        '  HostName %h.example.org',
        '  User deploy',
        'Host=far',
        '  HostName 192.0.2.7',
        '  Port 2222',
        '  IdentityFile ~/.ssh/far',
        '  ProxyJump ops@bastion:22',
        'Host *.internal !no ?x',
        '  User nobody',
        'Host chain',
        '  ProxyJump a,b',
        'Host tunnel',
        '  ProxyCommand nc %h %p',
        'Host *',
        '  User me',
      ].join('\n'),
    );
    const hosts = await listSshConfigHosts(user.computer);
    expect(hosts.map(({ alias, address, user: as, port, jump }) => [alias, address, as, port, jump])).toEqual([
      ['web', 'web.example.org', 'deploy', undefined, undefined],
      ['db-1', 'db-1.example.org', 'deploy', undefined, undefined],
      ['far', '192.0.2.7', 'me', 2222, 'ops@bastion:22'],
      ['chain', 'chain', 'me', undefined, undefined],
      ['tunnel', 'tunnel', 'me', undefined, undefined],
    ]);
    expect(hosts.map(({ unsupportedRoute }) => unsupportedRoute)).toEqual([
      undefined,
      undefined,
      undefined,
      'several jump hosts',
      'ProxyCommand',
    ]);
    expect(hosts[2]?.keyFile).toBe(join(user.path, '.ssh', 'far'));
  });

  test('are empty if the file is missing', async () => {
    await using user = await createUser();
    expect(await listSshConfigHosts(user.computer)).toEqual([]);
  });
});

test('keys are files with a public key beside them', async () => {
  await using user = await createUser();
  for (const name of ['id_ed25519', 'id_ed25519.pub', 'known_hosts', 'stray.pub', 'work', 'work.pub'])
    await writeFile(join(user.path, '.ssh', name), '');
  expect((await listSshKeys(user.computer)).toSorted()).toEqual(
    ['id_ed25519', 'work'].map((name) => join(user.path, '.ssh', name)),
  );
  expect(await listSshKeys({ ...user.computer, env: { HOME: join(user.path, 'nowhere') } })).toEqual([]);
});

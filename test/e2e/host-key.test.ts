import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTar } from 'nanotar';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { planHostKeyReplacement } from '../../src/provision/host-steps.ts';
import { joinTemplates } from '../../src/provision/step.ts';
import { generateKeyPair } from '../../src/ssh/connection.ts';
import { hostWithEngine } from '../unit/host-facts.ts';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { expectFailure } from './assertions.ts';
import { describeOnBed, createUser, hostFlags, type User } from './test-user.ts';

describeOnBed('the permanent host key', () => {
  let host: BedHost;
  let user: User;
  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie' }), createUser()]);
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });
  const readShownKey = async (): Promise<string> =>
    (await user.run('ssh-keyscan', ['-t', 'ed25519', host.address])).stdout.trim().split(' ').slice(1).join(' ');

  test('is complete on the next connection, and can be installed again without harm', async () => {
    const before = await readShownKey();
    const pair = generateKeyPair('web');
    const { files, scripts = [] } = planHostKeyReplacement(pair, hostWithEngine);
    const readTemplate = (name: string) => readFile(new URL(`../../templates/${name}`, import.meta.url), 'utf8');
    const archive = createTar([
      { name: 'script', data: await joinTemplates(scripts, readTemplate) },
      { name: 'files/' },
      ...files.map(({ content }, at) => ({ name: `files/${at}`, data: content ?? '' })),
    ]);
    const installHostKey = async (): Promise<number> => {
      const stdin = Buffer.from(archive).toString('base64');
      const command = 'd=$(mktemp -d) && cd "$d" && base64 -d | tar -xf - && sh -eu ./script';
      return (await host.exec(command, { stdin })).code;
    };
    expect(await installHostKey()).toBe(0);
    await expect.poll(readShownKey, { timeout: 10_000 }).toBe(pair.public.split(' ').slice(0, 2).join(' '));
    expect(await readShownKey()).not.toBe(before);
    expect(await host.runOrThrow('stat -c %a:%U /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub')).toBe(
      '600:root\n644:root',
    );
    expect(await installHostKey()).toBe(0);
    expect(await host.runOrThrow('systemctl is-active ssh')).toBe('active');
  });

  test('is refused without ssh-keygen if known_hosts has another, revokes it, or trusts an authority', async () => {
    await using visitor = await createUser();
    const key = await readShownKey();
    const otherKey = generateKeyPair('').public.split(' ').slice(0, 2).join(' ');
    const knownHosts = join(visitor.home, '.ssh', 'known_hosts');
    await mkdir(join(visitor.home, '.ssh'));
    const create = (name: string, login: string) =>
      expectFailure(visitor.slipwayWith({ env: { PATH: '/nowhere' } }, 'create', name, ...hostFlags(host, login)));

    await writeFile(knownHosts, `${host.address} ${otherKey}\n`);
    expect((await create('web', 'root')).sentence).toContain(`showed the host key ssh-ed25519 SHA256:`);
    await writeFile(knownHosts, `@cert-authority * ${otherKey}\n`);
    const authority = await create('web', 'root');
    expect(authority.sentence).toContain(`trusts a certificate authority for ${host.address}`);
    expect(authority.hint).toMatch(/pass it: --generic-host-key SHA256:/);

    // The key is pinned before the login, which is refused.
    await writeFile(knownHosts, '');
    expect((await create('web', 'nobody')).sentence).toContain('accepted none of the keys');
    await appendFile(knownHosts, `@revoked * ${key}\n`);
    for (const failure of [await create('web', 'nobody'), await create('other', 'root')]) {
      expect(failure.status).toBe(6);
      expect(failure.sentence).toContain('which your known_hosts has revoked');
    }
  });
});

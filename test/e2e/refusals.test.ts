import { spawn } from 'node:child_process';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok, type User } from './slipway.ts';
import { expectAnswer, recordOf, trouble, until } from './trouble.ts';

const NOBODYS_KEY = 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

describeOnBed('a door that does not open', () => {
  let host: BedHost;
  let far: BedHost;
  beforeAll(async () => {
    [host, far] = await Promise.all([
      startHost({ suite: 'bookworm', engine: true }),
      startHost({ suite: 'trixie', engine: true }),
    ]);
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), far[Symbol.asyncDispose]()]);
  });

  /** A whole meeting with the host that changes nothing there. */
  const meet = (user: User, ...more: readonly string[]) =>
    user.slipway('create', 'web', '--dry-run', ...at(host), ...more);
  const keyOf = (type: string) => {
    const key = host.hostKeys.find((candidate) => candidate.type === type);
    if (!key) throw new Error(`the bed makes no ${type} key`);
    return key;
  };
  const knownHosts = async (user: User, content: string): Promise<string> => {
    await mkdir(join(user.home, '.ssh'), { recursive: true, mode: 0o700 });
    const file = join(user.home, '.ssh', 'known_hosts');
    await writeFile(file, content);
    return file;
  };

  test('a host key other than the one given is refused, and nothing is pinned', async () => {
    await using user = await newUser();
    const refused = await trouble(user.slipway('create', 'web', ...at(host), '--generic-host-key', NOBODYS_KEY));
    expect(refused.status).toBe(6);
    expect(refused.sentence).toBe(
      `${host.address} showed the host key ssh-ed25519 ${keyOf('ssh-ed25519').fingerprint}, not ${NOBODYS_KEY}`,
    );
    expect(refused.hint).toContain('--generic-host-key');
    const record = await recordOf(user, 'web');
    expect(record).toMatchObject({ phase: 'created', failure: { step: 'connect', code: 'HOST_KEY' } });
    expect(record.host?.ssh).not.toHaveProperty('hostKey');

    await ok(user.slipway('create', 'web', '--generic-host-key', keyOf('ssh-ed25519').fingerprint));
    await expectAnswer(user, 'web');
    expect(await recordOf(user, 'web')).not.toHaveProperty('failure');
  });

  test('the fingerprint of any of the host’s keys is good, and that key is the one pinned', async () => {
    await using user = await newUser();
    for (const { fingerprint } of host.hostKeys) await ok(meet(user, '--generic-host-key', fingerprint));
    const { type, base64, fingerprint } = keyOf('ssh-rsa');
    await ok(user.slipway('create', 'web', ...at(host), '--generic-host-key', fingerprint));
    expect((await recordOf(user, 'web')).host?.ssh?.hostKey).toBe(`${type} ${base64}`);
    await ok(user.slipway('provision', 'web'));
  });

  test('a key in the user’s known_hosts is taken without a word, in each of its spellings', async () => {
    await using user = await newUser();
    const { type, base64 } = keyOf('ecdsa-sha2-nistp256');
    expect((await ok(meet(user))).stderr).toContain('first seen');

    const file = await knownHosts(user, `${host.address} ${type} ${base64}\n`);
    expect((await ok(meet(user))).stderr).not.toContain('first seen');

    await ok(user.run('ssh-keygen', ['-H', '-f', file]));
    expect(await readFile(file, 'utf8')).toMatch(/^\|1\|/);
    expect((await ok(meet(user))).stderr).not.toContain('first seen');

    await host.must(`printf 'Port 22\\nPort 2222\\n' >/etc/ssh/sshd_config.d/port.conf && systemctl restart ssh`);
    await knownHosts(user, `[${host.address}]:2222 ${type} ${base64}\n`);
    expect((await ok(meet(user, '--generic-ssh-port', '2222'))).stderr).not.toContain('first seen');
    expect((await ok(meet(user))).stderr).toContain('first seen');
  });

  test('a different key in the user’s known_hosts is believed more than the host', async () => {
    await using user = await newUser();
    const { type, base64 } = far.hostKeys.find((key) => key.type === 'ssh-ed25519') ?? keyOf('ssh-ed25519');
    await knownHosts(user, `${host.address} ${type} ${base64}\n`);
    const refused = await trouble(user.slipway('create', 'web', ...at(host)));
    expect(refused.status).toBe(6);
    expect(refused.sentence).toContain(keyOf('ssh-ed25519').fingerprint);
    expect((await recordOf(user, 'web')).host?.ssh).not.toHaveProperty('hostKey');
    // What the user says now stands above what the file says.
    await ok(user.slipway('create', 'web', '--generic-host-key', keyOf('ssh-ed25519').fingerprint));
  });

  test('where nothing answers, the sentence says what was tried, and create finishes once something does', async () => {
    await using user = await newUser();
    const closed = await trouble(user.slipway('create', 'web', ...at(host), '--generic-ssh-port', '2323'));
    expect(closed).toMatchObject({
      status: 6,
      sentence: `${host.address}:2323 can't be reached over SSH: nothing listens there`,
    });
    expect(closed.hint).toContain(`ssh -p 2323 root@${host.address}`);
    expect(await recordOf(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { step: 'connect', code: 'SSH_UNREACHABLE' },
    });

    await host.must('iptables -I INPUT -p tcp --dport 2323 -j DROP');
    const silent = await trouble(user.slipway('create', 'web'));
    expect(silent).toMatchObject({
      status: 6,
      sentence: `${host.address}:2323 can't be reached over SSH: no answer within 20 s`,
    });

    await host.must(
      `iptables -D INPUT -p tcp --dport 2323 -j DROP && printf 'Port 22\\nPort 2323\\n' >/etc/ssh/sshd_config.d/port.conf && systemctl restart ssh`,
    );
    await ok(user.slipway('create', 'web'));
    await expectAnswer(user, 'web');
  });

  test('a key that the host does not take, or that is not there, is named', async () => {
    await using user = await newUser();
    const stranger = join(user.home, 'stranger');
    const absent = await trouble(
      user.slipway('create', 'web', '--generic-ip-address', host.address, '--generic-ssh-key', stranger),
    );
    expect(absent.status).toBe(2);
    expect(absent.sentence).toContain(stranger);
    await trouble(user.slipway('inspect', 'web'));

    await ok(user.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', stranger]));
    const refused = await trouble(
      user.slipway('create', 'web', '--generic-ip-address', host.address, '--generic-ssh-key', stranger),
    );
    expect(refused).toMatchObject({
      status: 6,
      sentence: `root@${host.address}:22 accepted none of the keys offered (${stranger})`,
    });
    expect(refused.hint).toContain('ssh-copy-id');
    // The key of the host was seen, so from now on it is demanded, although the login failed.
    expect(await recordOf(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { code: 'SSH_REFUSED' },
      host: { ssh: { hostKey: expect.stringContaining(keyOf('ssh-ed25519').base64) as string } },
    });

    const half = await trouble(user.slipway('create', 'web', '--generic-ssh-key', `${stranger}.pub`));
    expect(half).toMatchObject({ status: 2, sentence: expect.stringContaining('it is the public half') as string });

    const none = await trouble(user.slipway('create', 'bare', '--generic-ip-address', host.address));
    expect(none.sentence).toContain('accepted none of the keys offered (none)');

    await ok(user.slipway('create', 'web', '--generic-ssh-key', host.keyFile));
    await expectAnswer(user, 'web');
  });

  test('a locked key asks for ssh-add, and works once the agent has it', async () => {
    await using user = await newUser();
    const locked = join(user.home, 'locked');
    await copyFile(host.keyFile, locked);
    await ok(user.run('ssh-keygen', ['-q', '-p', '-P', '', '-N', 'open sesame', '-f', locked]));
    const refused = await trouble(
      user.slipway('create', 'web', '--generic-ip-address', host.address, '--generic-ssh-key', locked),
    );
    expect(refused).toMatchObject({ status: 6, hint: `Unlock it into the agent: ssh-add ${locked}` });
    expect(refused.sentence).toContain(`${locked} has a passphrase`);

    const askpass = join(user.home, 'askpass');
    await writeFile(askpass, '#!/bin/sh\necho open sesame\n', { mode: 0o700 });
    const socket = join(user.home, 'agent');
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
    try {
      const env = { SSH_AUTH_SOCK: socket, SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force' };
      await until('the agent listens', async () => (await user.run('ssh-add', ['-l'], { env })).code !== 2);
      await ok(user.run('ssh-add', [locked], { env }));
      await ok(user.slipwayWith({ env: { SSH_AUTH_SOCK: socket } }, 'create', 'web'));
      await expectAnswer(user, 'web');
    } finally {
      agent.kill();
    }
  });

  test('the usual key in ~/.ssh needs no flag', async () => {
    await using user = await newUser();
    await mkdir(join(user.home, '.ssh'), { mode: 0o700 });
    await copyFile(host.keyFile, join(user.home, '.ssh', 'id_ed25519'));
    await ok(user.slipway('create', 'web', '--generic-ip-address', host.address));
    await expectAnswer(user, 'web');
  });

  test('a user who may use sudo without a password is as good as root', async () => {
    await using user = await newUser();
    await ok(user.slipway('create', 'web', ...at(host, 'deploy')));
    await expectAnswer(user, 'web');
  });

  test('a user whose sudo asks for a password needs it in the environment, and the right one', async () => {
    await using user = await newUser();
    const without = await trouble(user.slipway('create', 'web', ...at(host, 'ops')));
    expect(without).toMatchObject({
      status: 7,
      sentence: `ops on ${host.address} may not become root without a password`,
    });
    expect(without.hint).toContain('SLIPWAY_SUDO_PASSWORD');
    expect(await recordOf(user, 'web')).toMatchObject({ phase: 'created', failure: { step: 'facts', code: 'SUDO' } });

    const wrong = { env: { SLIPWAY_SUDO_PASSWORD: 'wrong horse' } };
    const outcome = await user.slipwayWith(wrong, 'create', 'web', '--debug');
    expect(await trouble(outcome)).toMatchObject({
      status: 7,
      sentence: `ops on ${host.address} may not become root with the sudo password given`,
    });
    expect(outcome.stderr).not.toContain('wrong horse');

    await ok(user.slipwayWith({ env: { SLIPWAY_SUDO_PASSWORD: 'correct horse battery' } }, 'create', 'web'));
    await expectAnswer(user, 'web');
    expect(JSON.stringify(await recordOf(user, 'web'))).not.toContain('correct horse battery');
  });

  test('a user who may not become root is told so, and which users may', async () => {
    await using user = await newUser();
    const refused = await trouble(user.slipway('create', 'web', ...at(host, 'plain')));
    expect(refused.status).toBe(7);
    expect(refused.hint).toContain('--generic-ssh-user root');
    await ok(user.slipway('create', 'web', '--generic-ssh-user', 'root'));
  });

  test('on a host without sudo only root will do', async () => {
    await using user = await newUser();
    await far.must('SUDO_FORCE_REMOVE=yes dpkg --purge sudo');
    const refused = await trouble(user.slipway('create', 'far', ...at(far, 'deploy')));
    expect(refused).toMatchObject({
      status: 7,
      sentence: `deploy on ${far.address} is not root, and the host has no sudo`,
    });
    await ok(user.slipway('create', 'far', '--generic-ssh-user', 'root'));
    await expectAnswer(user, 'far');
  });

  test('the login shell may be any', async () => {
    await using user = await newUser();
    await host.must('apt-get install -qq --yes --no-install-recommends fish tcsh >/dev/null 2>&1');
    await ok(user.slipway('create', 'web', ...at(host, 'deploy')));
    for (const shell of ['/bin/dash', '/usr/bin/fish', '/bin/tcsh']) {
      await host.must(`chsh --shell ${shell} deploy`);
      await ok(user.slipway('provision', 'web', '--engine-label', `shell=${shell}`));
      const { stdout } = await ok(user.docker('--context', 'web', 'info', '--format', '{{.Labels}}'));
      expect(stdout.trim()).toBe(`[shell=${shell}]`);
    }
  });

  test('a host behind a jump host is reached through it alone, and both keys are held', async () => {
    await using user = await newUser();
    const only = `INPUT -p tcp --dport 22 ! -s ${host.address} -j REJECT`;
    await far.must(`iptables -I ${only}`);
    const direct = await trouble(user.slipway('create', 'far', ...at(far)));
    expect(direct.status).toBe(6);

    const jump = ['--generic-ssh-jump', `root@${host.address}`];
    const wrong = await trouble(user.slipway('create', 'far', ...jump, '--generic-ssh-jump-host-key', NOBODYS_KEY));
    expect(wrong.status).toBe(6);
    expect(wrong.sentence).toContain(`${host.address} showed the host key`);
    expect(wrong.hint).toContain('--generic-ssh-jump-host-key');

    const rsa = (from: BedHost): string => from.hostKeys.find(({ type }) => type === 'ssh-rsa')?.fingerprint ?? '';
    const keys = ['--generic-host-key', rsa(far), '--generic-ssh-jump-host-key', rsa(host)];
    await ok(user.slipway('create', 'far', ...jump, ...keys));
    await expectAnswer(user, 'far');
    const record = await recordOf(user, 'far');
    expect(record.host?.ssh).toMatchObject({
      hostKey: expect.stringMatching(/^ssh-rsa /) as string,
      jump: { hostKey: expect.stringMatching(/^ssh-rsa /) as string },
    });

    await host.must(`echo 'AllowTcpForwarding no' >/etc/ssh/sshd_config.d/forward.conf && systemctl restart ssh`);
    const shut = await trouble(user.slipway('provision', 'far'));
    expect(shut.status).toBe(6);
    expect(shut.sentence).toContain(`The jump host could not reach ${far.address}:22`);
    await host.must('rm /etc/ssh/sshd_config.d/forward.conf && systemctl restart ssh');
    await ok(user.slipway('provision', 'far'));
    await far.must(`iptables -D ${only}`);
  });

  // Last: from here on the host's keys are not those that it was started with.
  test('a host key that changed after it was pinned is refused until the user gives the new one', async () => {
    await using user = await newUser();
    await ok(user.slipway('create', 'web', ...at(host)));
    const pinned = (await recordOf(user, 'web')).host?.ssh?.hostKey;
    await host.must(`
      cd /etc/ssh && rm ssh_host_*_key ssh_host_*_key.pub
      ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && ssh-keygen -q -t ecdsa -N '' -f ssh_host_ecdsa_key
      systemctl restart ssh`);
    const refused = await trouble(user.slipway('provision', 'web'));
    expect(refused.status).toBe(6);
    expect(refused.sentence).toContain(keyOf('ssh-ed25519').fingerprint);
    expect(await recordOf(user, 'web')).toMatchObject({
      phase: 'ready',
      host: { ssh: { hostKey: pinned } },
      failure: { step: 'connect', code: 'HOST_KEY' },
    });
    await expectAnswer(user, 'web');

    const shown = await host.must(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2`);
    await ok(user.slipway('provision', 'web', '--generic-host-key', shown));
    expect((await recordOf(user, 'web')).host?.ssh?.hostKey).not.toBe(pinned);
    await ok(user.slipway('provision', 'web'));

    await host.must('rm /etc/ssh/ssh_host_ed25519_key && systemctl restart ssh');
    const gone = await trouble(user.slipway('provision', 'web'));
    expect(gone).toMatchObject({
      status: 6,
      sentence: expect.stringContaining('no host key of the kind of ssh-ed25519') as string,
    });
  });
});

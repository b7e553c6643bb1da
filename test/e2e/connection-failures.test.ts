import { spawn } from 'node:child_process';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';
import { expectEngineAnswer, readRecord, expectFailure, waitUntil } from './assertions.ts';

const UNKNOWN_FINGERPRINT = 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

describeOnBed('a connection that fails', () => {
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

  /** Connects to the host and gathers facts, without changing anything there. */
  const dryRunCreate = (user: User, ...more: readonly string[]) =>
    user.slipway('create', 'web', '--dry-run', ...hostFlags(host), ...more);
  const keyOf = (type: string) => {
    const key = host.hostKeys.find((candidate) => candidate.type === type);
    if (!key) throw new Error(`the test host has no ${type} key`);
    return key;
  };
  const writeKnownHosts = async (user: User, content: string): Promise<string> => {
    await mkdir(join(user.home, '.ssh'), { recursive: true, mode: 0o700 });
    const file = join(user.home, '.ssh', 'known_hosts');
    await writeFile(file, content);
    return file;
  };

  test('refuses another host key than the given one, and pins nothing', async () => {
    await using user = await createUser();
    const refused = await expectFailure(
      user.slipway('create', 'web', ...hostFlags(host), '--generic-host-key', UNKNOWN_FINGERPRINT),
    );
    expect(refused.status).toBe(6);
    expect(refused.sentence).toBe(
      `${host.address} showed the host key ssh-ed25519 ${keyOf('ssh-ed25519').fingerprint}, not ${UNKNOWN_FINGERPRINT}`,
    );
    expect(refused.hint).toContain('--generic-host-key');
    const record = await readRecord(user, 'web');
    expect(record).toMatchObject({ phase: 'created', failure: { step: 'connect', code: 'HOST_KEY' } });
    expect(record.host?.ssh).not.toHaveProperty('hostKey');

    await expectSuccess(user.slipway('create', 'web', '--generic-host-key', keyOf('ssh-ed25519').fingerprint));
    await expectEngineAnswer(user, 'web');
    expect(await readRecord(user, 'web')).not.toHaveProperty('failure');
  });

  test("accepts the fingerprint of any of the host's keys, and pins that key", async () => {
    await using user = await createUser();
    for (const { fingerprint } of host.hostKeys)
      await expectSuccess(dryRunCreate(user, '--generic-host-key', fingerprint));
    const { type, base64, fingerprint } = keyOf('ssh-rsa');
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host), '--generic-host-key', fingerprint));
    expect((await readRecord(user, 'web')).host?.ssh?.hostKey).toBe(`${type} ${base64}`);
    await expectSuccess(user.slipway('provision', 'web'));
  });

  test("accepts a key in the user's known_hosts silently, in each of its notations", async () => {
    await using user = await createUser();
    const { type, base64 } = keyOf('ecdsa-sha2-nistp256');
    expect((await expectSuccess(dryRunCreate(user))).stderr).toContain('seen for the first time');

    const file = await writeKnownHosts(user, `${host.address} ${type} ${base64}\n`);
    expect((await expectSuccess(dryRunCreate(user))).stderr).not.toContain('seen for the first time');

    await expectSuccess(user.run('ssh-keygen', ['-H', '-f', file]));
    expect(await readFile(file, 'utf8')).toMatch(/^\|1\|/);
    expect((await expectSuccess(dryRunCreate(user))).stderr).not.toContain('seen for the first time');

    await host.runOrThrow(`printf 'Port 22\\nPort 2222\\n' >/etc/ssh/sshd_config.d/port.conf && systemctl restart ssh`);
    await writeKnownHosts(user, `[${host.address}]:2222 ${type} ${base64}\n`);
    expect((await expectSuccess(dryRunCreate(user, '--generic-ssh-port', '2222'))).stderr).not.toContain(
      'seen for the first time',
    );
    expect((await expectSuccess(dryRunCreate(user))).stderr).toContain('seen for the first time');
  });

  test("refuses a host whose key differs from the user's known_hosts", async () => {
    await using user = await createUser();
    const { type, base64 } = far.hostKeys.find((key) => key.type === 'ssh-ed25519') ?? keyOf('ssh-ed25519');
    await writeKnownHosts(user, `${host.address} ${type} ${base64}\n`);
    const refused = await expectFailure(user.slipway('create', 'web', ...hostFlags(host)));
    expect(refused.status).toBe(6);
    expect(refused.sentence).toContain(keyOf('ssh-ed25519').fingerprint);
    expect((await readRecord(user, 'web')).host?.ssh).not.toHaveProperty('hostKey');
    // A flag overrides the file.
    await expectSuccess(user.slipway('create', 'web', '--generic-host-key', keyOf('ssh-ed25519').fingerprint));
  });

  test('says what it tried when nothing answers, and create finishes once the host answers', async () => {
    await using user = await createUser();
    const closed = await expectFailure(user.slipway('create', 'web', ...hostFlags(host), '--generic-ssh-port', '2323'));
    expect(closed).toMatchObject({
      status: 6,
      sentence: `Can't connect to ${host.address}:2323 over SSH: nothing listens there`,
    });
    expect(closed.hint).toContain(`ssh -p 2323 root@${host.address}`);
    expect(await readRecord(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { step: 'connect', code: 'SSH_UNREACHABLE' },
    });

    await host.runOrThrow('iptables -I INPUT -p tcp --dport 2323 -j DROP');
    const silent = await expectFailure(user.slipway('create', 'web'));
    expect(silent).toMatchObject({
      status: 6,
      sentence: `Can't connect to ${host.address}:2323 over SSH: no answer within 20 s`,
    });

    await host.runOrThrow(
      `iptables -D INPUT -p tcp --dport 2323 -j DROP && printf 'Port 22\\nPort 2323\\n' >/etc/ssh/sshd_config.d/port.conf && systemctl restart ssh`,
    );
    await expectSuccess(user.slipway('create', 'web'));
    await expectEngineAnswer(user, 'web');
  });

  test('names a key that the host refuses, or that does not exist', async () => {
    await using user = await createUser();
    const stranger = join(user.home, 'stranger');
    const absent = await expectFailure(
      user.slipway('create', 'web', '--generic-ip-address', host.address, '--generic-ssh-key', stranger),
    );
    expect(absent.status).toBe(2);
    expect(absent.sentence).toContain(stranger);
    await expectFailure(user.slipway('inspect', 'web'));

    await expectSuccess(user.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', stranger]));
    const refused = await expectFailure(
      user.slipway('create', 'web', '--generic-ip-address', host.address, '--generic-ssh-key', stranger),
    );
    expect(refused).toMatchObject({
      status: 6,
      sentence: `root@${host.address}:22 accepted none of the keys offered (${stranger})`,
    });
    expect(refused.hint).toContain('ssh-copy-id');
    // The host's key was seen, so it is required from now on, although the login failed.
    expect(await readRecord(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { code: 'SSH_REFUSED' },
      host: { ssh: { hostKey: expect.stringContaining(keyOf('ssh-ed25519').base64) as string } },
    });

    const publicKey = await expectFailure(user.slipway('create', 'web', '--generic-ssh-key', `${stranger}.pub`));
    expect(publicKey).toMatchObject({
      status: 6,
      sentence: expect.stringContaining(`${stranger}.pub is a public key, and no agent has its private key`) as string,
    });

    const withoutKey = await expectFailure(user.slipway('create', 'bare', '--generic-ip-address', host.address));
    expect(withoutKey.sentence).toContain('accepted none of the keys offered (none)');

    await expectSuccess(user.slipway('create', 'web', '--generic-ssh-key', host.keyFile));
    await expectEngineAnswer(user, 'web');
  });

  test('asks for ssh-add for a key with a passphrase, and works once the agent has it', async () => {
    await using user = await createUser();
    const locked = join(user.home, 'locked');
    await copyFile(host.keyFile, locked);
    await expectSuccess(user.run('ssh-keygen', ['-q', '-p', '-P', '', '-N', 'open sesame', '-f', locked]));
    const refused = await expectFailure(
      user.slipway('create', 'web', '--generic-ip-address', host.address, '--generic-ssh-key', locked),
    );
    expect(refused).toMatchObject({
      status: 6,
      hint: `Add the key to the SSH agent: eval "$(ssh-agent)" && ssh-add ${locked}`,
    });
    expect(refused.sentence).toContain(`${locked} has a passphrase`);

    const askpass = join(user.home, 'askpass');
    await writeFile(askpass, '#!/bin/sh\necho open sesame\n', { mode: 0o700 });
    const socket = join(user.home, 'agent');
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
    try {
      const env = { SSH_AUTH_SOCK: socket, SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force' };
      await waitUntil('the agent listens', async () => (await user.run('ssh-add', ['-l'], { env })).code !== 2);
      await expectSuccess(user.run('ssh-add', [locked], { env }));
      await expectSuccess(user.slipwayWith({ env: { SSH_AUTH_SOCK: socket } }, 'create', 'web'));
      await expectEngineAnswer(user, 'web');
    } finally {
      agent.kill();
    }
  });

  test('finds the usual key in ~/.ssh without a flag', async () => {
    await using user = await createUser();
    await mkdir(join(user.home, '.ssh'), { mode: 0o700 });
    await copyFile(host.keyFile, join(user.home, '.ssh', 'id_ed25519'));
    await expectSuccess(user.slipway('create', 'web', '--generic-ip-address', host.address));
    await expectEngineAnswer(user, 'web');
  });

  test('accepts a user who can use sudo without a password', async () => {
    await using user = await createUser();
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host, 'deploy')));
    await expectEngineAnswer(user, 'web');
  });

  test('requires the right sudo password in the environment if sudo asks for one', async () => {
    await using user = await createUser();
    const without = await expectFailure(user.slipway('create', 'web', ...hostFlags(host, 'ops')));
    expect(without).toMatchObject({
      status: 7,
      sentence: `ops on ${host.address} can't become root without a password`,
    });
    expect(without.hint).toContain('SLIPWAY_SUDO_PASSWORD');
    expect(await readRecord(user, 'web')).toMatchObject({ phase: 'created', failure: { step: 'facts', code: 'SUDO' } });

    const wrong = { env: { SLIPWAY_SUDO_PASSWORD: 'wrong horse' } };
    const outcome = await user.slipwayWith(wrong, 'create', 'web', '--debug');
    expect(await expectFailure(outcome)).toMatchObject({
      status: 7,
      sentence: `ops on ${host.address} can't become root with the specified sudo password`,
    });
    expect(outcome.stderr).not.toContain('wrong horse');

    await expectSuccess(user.slipwayWith({ env: { SLIPWAY_SUDO_PASSWORD: 'correct horse battery' } }, 'create', 'web'));
    await expectEngineAnswer(user, 'web');
    expect(JSON.stringify(await readRecord(user, 'web'))).not.toContain('correct horse battery');
  });

  test('refuses a user who cannot become root, and says which users can', async () => {
    await using user = await createUser();
    const refused = await expectFailure(user.slipway('create', 'web', ...hostFlags(host, 'plain')));
    expect(refused.status).toBe(7);
    expect(refused.hint).toContain('--generic-ssh-user root');
    await expectSuccess(user.slipway('create', 'web', '--generic-ssh-user', 'root'));
  });

  test('quotes a host that is booting and lets nobody but root log in', async () => {
    await using user = await createUser();
    const nologin = 'System is booting up. Unprivileged users are not permitted to log in yet.';
    await host.runOrThrow(`echo '${nologin}' >/run/nologin`);
    try {
      const refused = await expectFailure(user.slipway('create', 'web', ...hostFlags(host, 'deploy')));
      expect(refused.status).toBe(6);
      expect(refused.sentence).toBe(`${host.address}:22 closed the SSH connection during the login`);
      expect(refused.detail).toEqual([nologin]);
    } finally {
      await host.runOrThrow('rm /run/nologin');
    }
    await expectSuccess(user.slipway('create', 'web'));
    await expectEngineAnswer(user, 'web');
  });

  test('quotes a host whose root account only names the user to log in as', async () => {
    await using user = await createUser();
    const words = 'Please login as the user "deploy" rather than the user "root".';
    const path = '/root/.ssh/authorized_keys';
    const keys = await host.runOrThrow(`cat ${path}`);
    // As cloud-init writes it for root.
    const restriction = `command="echo '${words.replaceAll('"', String.raw`\"`)}';echo;exit 142" `;
    await host.exec(`cat >${path}`, { stdin: keys.replaceAll(/^(?=ssh-)/gm, restriction) });
    try {
      const refused = await expectFailure(user.slipway('create', 'web', ...hostFlags(host)));
      expect(refused).toMatchObject({ status: 7, detail: [words] });
      expect(refused.hint).toBe('To use the user that the host names, log in as deploy: --generic-ssh-user deploy');
      await expectSuccess(user.slipway('create', 'web', '--generic-ssh-user', 'deploy'));
      await expectEngineAnswer(user, 'web');
    } finally {
      await host.exec(`cat >${path}`, { stdin: keys });
    }
  });

  test('gathers facts through a login that prints without a newline', async () => {
    await using user = await createUser();
    await host.runOrThrow(
      `chsh --shell /bin/bash deploy; cp -p /home/deploy/.bashrc /root/bashrc 2>/dev/null; printf 'printf "hello"\n' >/home/deploy/.bashrc`,
    );
    try {
      await expectSuccess(user.slipway('create', 'web', ...hostFlags(host, 'deploy')));
      expect((await expectSuccess(user.slipway('status', 'web'))).stdout).toMatch(/^disk/im);
    } finally {
      await host.runOrThrow('rm /home/deploy/.bashrc; mv /root/bashrc /home/deploy/.bashrc 2>/dev/null || true');
    }
  });

  test('requires root on a host without sudo', async () => {
    await using user = await createUser();
    await far.runOrThrow('SUDO_FORCE_REMOVE=yes dpkg --purge sudo');
    const refused = await expectFailure(user.slipway('create', 'far', ...hostFlags(far, 'deploy')));
    expect(refused).toMatchObject({
      status: 7,
      sentence: `deploy on ${far.address} is not root, and sudo is not installed there`,
    });
    await expectSuccess(user.slipway('create', 'far', '--generic-ssh-user', 'root'));
    await expectEngineAnswer(user, 'far');
  });

  test('accepts any login shell', async () => {
    await using user = await createUser();
    await host.runOrThrow('apt-get install -qq --yes --no-install-recommends fish tcsh >/dev/null 2>&1');
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host, 'deploy')));
    for (const shell of ['/bin/dash', '/usr/bin/fish', '/bin/tcsh']) {
      await host.runOrThrow(`chsh --shell ${shell} deploy`);
      await expectSuccess(user.slipway('provision', 'web', '--engine-label', `shell=${shell}`));
      const { stdout } = await expectSuccess(user.docker('--context', 'web', 'info', '--format', '{{.Labels}}'));
      expect(stdout.trim()).toBe(`[shell=${shell}]`);
    }
  });

  test('reaches a host behind a jump host through it only, and pins both host keys', async () => {
    await using user = await createUser();
    const jumpHostRule = `INPUT -p tcp --dport 22 ! -s ${host.address} -j REJECT`;
    await far.runOrThrow(`iptables -I ${jumpHostRule}`);
    const direct = await expectFailure(user.slipway('create', 'far', ...hostFlags(far)));
    expect(direct.status).toBe(6);

    const jump = ['--generic-ssh-jump', `root@${host.address}`];
    const wrong = await expectFailure(
      user.slipway('create', 'far', ...jump, '--generic-ssh-jump-host-key', UNKNOWN_FINGERPRINT),
    );
    expect(wrong.status).toBe(6);
    expect(wrong.sentence).toContain(`${host.address} showed the host key`);
    expect(wrong.hint).toContain('--generic-ssh-jump-host-key');

    const rsa = (from: BedHost): string => from.hostKeys.find(({ type }) => type === 'ssh-rsa')?.fingerprint ?? '';
    const keys = ['--generic-host-key', rsa(far), '--generic-ssh-jump-host-key', rsa(host)];
    await expectSuccess(user.slipway('create', 'far', ...jump, ...keys));
    await expectEngineAnswer(user, 'far');
    const record = await readRecord(user, 'far');
    expect(record.host?.ssh).toMatchObject({
      hostKey: expect.stringMatching(/^ssh-rsa /) as string,
      jump: { hostKey: expect.stringMatching(/^ssh-rsa /) as string },
    });

    await host.runOrThrow(`echo 'AllowTcpForwarding no' >/etc/ssh/sshd_config.d/forward.conf && systemctl restart ssh`);
    const withoutForwarding = await expectFailure(user.slipway('provision', 'far'));
    expect(withoutForwarding.status).toBe(6);
    expect(withoutForwarding.sentence).toContain(`The jump host could not reach ${far.address}:22`);
    await host.runOrThrow('rm /etc/ssh/sshd_config.d/forward.conf && systemctl restart ssh');
    await expectSuccess(user.slipway('provision', 'far'));
    await far.runOrThrow(`iptables -D ${jumpHostRule}`);
  });

  // This test is last because it replaces the host's keys.
  test('refuses a host key that changed after it was pinned until the user gives the new one', async () => {
    await using user = await createUser();
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
    const pinned = (await readRecord(user, 'web')).host?.ssh?.hostKey;
    await host.runOrThrow(`
      cd /etc/ssh && rm ssh_host_*_key ssh_host_*_key.pub
      ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && ssh-keygen -q -t ecdsa -N '' -f ssh_host_ecdsa_key
      systemctl restart ssh`);
    const refused = await expectFailure(user.slipway('provision', 'web'));
    expect(refused.status).toBe(6);
    expect(refused.sentence).toContain(keyOf('ssh-ed25519').fingerprint);
    expect(await readRecord(user, 'web')).toMatchObject({
      phase: 'ready',
      host: { ssh: { hostKey: pinned } },
      failure: { step: 'connect', code: 'HOST_KEY' },
    });
    await expectEngineAnswer(user, 'web');

    const shown = await host.runOrThrow(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2`);
    await expectSuccess(user.slipway('provision', 'web', '--generic-host-key', shown));
    expect((await readRecord(user, 'web')).host?.ssh?.hostKey).not.toBe(pinned);
    await expectSuccess(user.slipway('provision', 'web'));

    await host.runOrThrow('rm /etc/ssh/ssh_host_ed25519_key && systemctl restart ssh');
    const gone = await expectFailure(user.slipway('provision', 'web'));
    expect(gone).toMatchObject({
      status: 6,
      sentence: expect.stringContaining('no host key of the same type as ssh-ed25519') as string,
    });
  });
});

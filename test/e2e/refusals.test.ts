import { execFile } from 'node:child_process';
import { appendFile, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok, type Outcome, type User } from './slipway.ts';

const run = promisify(execFile);

/** One sentence, one hint, no stack: what a person gets to read. */
function sentences({ stderr }: Outcome): readonly string[] {
  return stderr.split('\n').filter((line) => /^[✗→]/.test(line));
}

async function isReachable(user: User, name: string): Promise<boolean> {
  const { code } = await user.docker('--context', name, 'version');
  return code === 0;
}

async function known(host: BedHost, type: string): Promise<string> {
  const key = host.hostKeys.find((candidate) => candidate.type === type);
  if (!key) throw new Error(`the host has no ${type} key`);
  return key.fingerprint;
}

describeOnBed('who is let in, and where to', () => {
  test('a host key is checked against the one given, the one pinned, and known_hosts, before anything else is said', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm', engine: true });

    const wrong = await user.slipway('create', 'web', ...at(host), '--generic-host-key', `SHA256:${'A'.repeat(43)}`);
    expect(wrong.code).toBe(6);
    expect(sentences(wrong)).toEqual([
      expect.stringContaining('showed the host key ssh-ed25519 SHA256:'),
      expect.stringContaining('--generic-host-key'),
    ]);
    const { stdout: record } = await ok(user.slipway('inspect', 'web'));
    expect(JSON.parse(record)).toMatchObject({ phase: 'created', failure: { step: 'connect', code: 'HOST_KEY' } });
    expect(record).not.toContain('"hostKey": "ssh-');

    // The fingerprint of any of the host's keys will do, whichever kind the handshake likes best.
    for (const type of ['ssh-rsa', 'ecdsa-sha2-nistp256', 'ssh-ed25519']) {
      await ok(user.slipway('create', 'web', '--generic-host-key', await known(host, type), '--dry-run'));
    }
    const made = await ok(
      user.slipway('create', 'web', '--generic-host-key', await known(host, 'ecdsa-sha2-nistp256')),
    );
    expect(made.stderr).not.toContain('first seen');
    expect(await isReachable(user, 'web')).toBe(true);

    await host.must('set -e; rm /etc/ssh/ssh_host_*; ssh-keygen -q -A; systemctl restart ssh');
    const changed = await user.slipway('provision', 'web');
    expect(changed.code).toBe(6);
    expect(changed.stderr).toContain('Somebody may stand in between');
    const { code: sshCode } = await user.slipway('ssh', 'web', 'true');
    expect(sshCode).toBe(255);
    const print = (await host.must('ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub')).split(' ')[1] ?? '';
    await ok(user.slipway('provision', 'web', '--generic-host-key', print));
    expect((await ok(user.slipway('ssh', 'web', 'echo', 'in'))).stdout).toBe('in\n');
  });

  test('known_hosts is believed silently, hashed names too, and a key that differs from it is refused', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    const file = join(user.home, '.ssh', 'known_hosts');
    await mkdir(join(user.home, '.ssh'));
    const line = (key: { type: string; base64: string }): string => `${host.address} ${key.type} ${key.base64}\n`;
    const ecdsa = host.hostKeys.find(({ type }) => type.startsWith('ecdsa'));
    await writeFile(file, line(ecdsa ?? { type: '', base64: '' }));
    await run('ssh-keygen', ['-H', '-f', file]);
    const silent = await ok(user.slipway('create', 'web', ...at(host)));
    expect(silent.stderr).not.toContain('first seen');
    await ok(user.slipway('rm', 'web'));

    const other =
      (await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(user.home, 'other')]),
      join(user.home, 'other.pub'));
    await writeFile(file, '');
    const { stdout } = await run('cut', ['-d', ' ', '-f', '1,2', other]);
    await appendFile(file, `${host.address} ${stdout}`);
    const refused = await user.slipway('create', 'web', ...at(host));
    expect(refused.code).toBe(6);
    expect(refused.stderr).toContain('showed the host key');
  });

  test('what keeps SSH out is said with what to do about it, and the same name goes on once it is mended', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm', engine: true });
    const closed = await user.slipway('create', 'web', ...at(host), '--generic-ssh-port', '1');
    expect(closed.code).toBe(6);
    expect(sentences(closed)[0]).toContain(`${host.address}:1 can't be reached over SSH: nothing listens there`);
    expect(sentences(await user.slipway('create', 'no', '--generic-ip-address', 'no-such-host.invalid'))[0]).toMatch(
      /no such host name|could not be looked up/,
    );
    await ok(user.slipway('rm', 'no'));

    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(user.home, 'stranger')]);
    const stranger = await user.slipway(
      'create',
      'web',
      '--generic-ssh-port',
      '22',
      '--generic-ssh-key',
      join(user.home, 'stranger'),
    );
    expect(stranger.code).toBe(6);
    expect(sentences(stranger)).toEqual([
      expect.stringContaining('accepted none of the keys offered'),
      expect.stringContaining('ssh-copy-id'),
    ]);

    const missing = await user.slipway('create', 'web', '--generic-ssh-key', '/nowhere/key');
    expect(missing.code).toBe(2);
    expect(sentences(missing)).toEqual([
      expect.stringContaining('/nowhere/key'),
      expect.stringContaining('--generic-ssh-key'),
    ]);

    await copyFile(host.keyFile, join(user.home, 'locked'));
    await run('chmod', ['600', join(user.home, 'locked')]);
    await run('ssh-keygen', ['-q', '-p', '-P', '', '-N', 'secret words', '-f', join(user.home, 'locked')]);
    const locked = await user.slipway('create', 'web', '--generic-ssh-key', join(user.home, 'locked'));
    expect(locked.code).toBe(6);
    expect(sentences(locked)).toEqual([
      expect.stringContaining('has a passphrase'),
      expect.stringContaining('ssh-add'),
    ]);

    await ok(user.slipway('create', 'web', '--generic-ssh-key', host.keyFile));
    expect(await isReachable(user, 'web')).toBe(true);
  });

  test('keys come from the agent or from ~/.ssh where none is named', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    const { stdout } = await run('ssh-agent', ['-s']);
    const socket = /SSH_AUTH_SOCK=([^;]+)/.exec(stdout)?.[1] ?? '';
    const pid = Number(/SSH_AGENT_PID=(\d+)/.exec(stdout)?.[1]);
    try {
      await run('ssh-add', ['-q', host.keyFile], { env: { ...process.env, SSH_AUTH_SOCK: socket } });
      await ok(
        user.slipwayWith({ env: { SSH_AUTH_SOCK: socket } }, 'create', 'web', '--generic-ip-address', host.address),
      );
    } finally {
      process.kill(pid);
    }
    await mkdir(join(user.home, '.ssh'));
    await copyFile(host.keyFile, join(user.home, '.ssh', 'id_ed25519'));
    await ok(user.slipway('provision', 'web'));
  });

  test('root is reached by sudo with and without a password, and its absence is a sentence', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    const asked = await user.slipway('create', 'web', ...at(host, 'ops'));
    expect(asked.code).toBe(7);
    expect(sentences(asked)).toEqual([
      expect.stringContaining('may not become root without a password'),
      expect.stringContaining('SLIPWAY_SUDO_PASSWORD'),
    ]);
    const wrong = await user.slipwayWith({ env: { SLIPWAY_SUDO_PASSWORD: 'guess' } }, 'create', 'web');
    expect(sentences(wrong)[0]).toContain('with the sudo password given');
    await ok(user.slipwayWith({ env: { SLIPWAY_SUDO_PASSWORD: 'correct horse battery' } }, 'create', 'web'));
    expect(await isReachable(user, 'web')).toBe(true);

    await ok(user.slipway('provision', 'web', '--generic-ssh-user', 'deploy', '--engine-label', 'by=deploy'));
    expect((await ok(user.docker('--context', 'web', 'info', '--format', '{{.Labels}}'))).stdout).toContain(
      'by=deploy',
    );

    const plain = await user.slipway('create', 'plain', ...at(host, 'plain'));
    expect(plain.code).toBe(7);
    await host.must('mv "$(command -v sudo)" /root/sudo');
    const none = await user.slipway('create', 'plain', ...at(host, 'plain'));
    expect(none.code).toBe(7);
    expect(sentences(none)[0]).toContain('the host has no sudo');
  });

  test('a jump host leads to a host that lets nobody else in, its key checked as well', async () => {
    await using user = await newUser();
    await using gate = await startHost({ suite: 'bookworm' });
    await using host = await startHost({ suite: 'trixie', engine: true });
    await host.must(`iptables -A INPUT -p tcp --dport 22 ! -s ${gate.address} -j REJECT`);
    const through = [...at(host), '--generic-ssh-jump', `deploy@${gate.address}`];
    const refused = await user.slipway(
      'create',
      'web',
      ...through,
      '--generic-ssh-jump-host-key',
      `SHA256:${'B'.repeat(43)}`,
    );
    expect(refused.code).toBe(6);
    expect(refused.stderr).toContain(gate.address);
    const made = await ok(
      user.slipway('create', 'web', '--generic-ssh-jump-host-key', await known(gate, 'ssh-ed25519')),
    );
    expect(made.stderr).toContain(`Host key of ${host.address}, first seen`);
    expect(await isReachable(user, 'web')).toBe(true);
    expect((await ok(user.slipway('ssh', 'web', 'hostname'))).stdout.trim()).toBe(await host.must('hostname'));
    await ok(user.slipway('provision', 'web'));
  });
});

import { expect, test } from 'vitest';
import { startHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok } from './slipway.ts';

describeOnBed('trouble on the host', () => {
  test('a full disk is said, loses nothing there, and the same command goes on afterwards', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm', engine: true });
    const daemon = '{"log-driver": "local"}';
    await host.must(
      `set -e; mkdir -p /etc/docker; mount -t tmpfs -o size=16k tmpfs /etc/docker; printf '%s' '${daemon}' >/etc/docker/daemon.json; head -c 9000 /dev/zero >/etc/docker/filler`,
    );
    const full = await user.slipway('create', 'web', ...at(host));
    expect(full.code).toBe(7);
    expect(full.stderr).toMatch(/✗ "Configure the engine and restart it" failed on \S+: its disk is full/);
    expect(await host.must('cat /etc/docker/daemon.json')).toBe(daemon);
    expect(await host.must('find /etc/docker -name "*.slipway-new" | wc -l')).toBe('0');
    expect(await host.must('systemctl is-active docker')).toBe('active');
    await host.must('set -e; mount -o remount,size=4m /etc/docker; rm /etc/docker/filler');
    await ok(user.slipway('create', 'web'));
    expect((await ok(user.docker('--context', 'web', 'info', '--format', '{{.LoggingDriver}}'))).stdout.trim()).toBe(
      'local',
    );
  });

  test('too little room for the engine is said before anything is written', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie', runArgs: ['--tmpfs', '/var/lib/containers:size=1m'] });
    await host.must(
      'mount -t tmpfs -o size=50m tmpfs /etc/docker 2>/dev/null || { mkdir -p /etc/docker && mount -t tmpfs -o size=50m tmpfs /etc/docker; }',
    );
    await host.must(
      'set -e; mkdir -p /small; mount -t tmpfs -o size=50m tmpfs /small; cp -a /var/lib/dpkg /var/lib/apt /small/ 2>/dev/null || true; mount --move /small /var/lib 2>/dev/null || mount --bind /small /var/lib',
    );
    const tight = await user.slipway('create', 'web', ...at(host), '--engine-source', 'distro');
    expect(tight.code).toBe(7);
    expect(tight.stderr).toMatch(/has \d+ MB free on \/var\/lib; installing the engine takes about 600 MB/);
    expect(await host.must('ls /etc/docker')).toBe('');
  });

  test('an install that fails shows the package manager’s last lines, and goes on once it can', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm' });
    await host.must(
      'set -e; mkdir /root/apt; mv /etc/apt/sources.list.d/* /root/apt/ 2>/dev/null || true; mv /etc/apt/sources.list /root/apt/ 2>/dev/null || true; rm -rf /var/lib/apt/lists/*; echo "deb [trusted=yes] file:///nowhere ./" >/etc/apt/sources.list',
    );
    const failed = await user.slipway('create', 'web', ...at(host), '--engine-source', 'distro');
    expect(failed.code).toBe(7);
    expect(failed.stderr).toMatch(/✗ "Install the engine \(the distribution’s package\)" failed on /);
    expect(failed.stderr).toContain('  │ ');
    await host.must(
      'set -e; rm /etc/apt/sources.list; cd /root/apt; for f in *; do if [ "$f" = sources.list ]; then mv "$f" /etc/apt/; else mv "$f" /etc/apt/sources.list.d/; fi; done',
    );
    await ok(user.slipway('create', 'web'));
    await ok(user.docker('--context', 'web', 'version'));
  });

  test('a package manager at work is waited for, and one that was killed is finished', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie' });
    // dpkg's lock, held as dpkg holds it: a record lock of a living process.
    await host.must(
      'set -e; apt-get install -y -q perl-base >/dev/null; nohup perl -e \'open(F, ">>", "/var/lib/dpkg/lock-frontend"); fcntl(F, 6, pack("s s l! l! i", 1, 0, 0, 0, 0)) or die; sleep 6\' >/dev/null 2>&1 & sleep 0.3',
    );
    await host.must(
      'cd /tmp && apt-get download -q docker.io >/dev/null 2>&1; dpkg --unpack /tmp/docker.io*.deb >/dev/null 2>&1 || true',
    );
    const { stderr } = await ok(user.slipway('create', 'web', ...at(host), '--engine-source', 'distro'));
    expect(stderr).toContain('Install the engine (the distribution’s package): done');
    expect(await host.must("dpkg-query -W -f '${db:Status-Status}' docker.io")).toBe('installed');
    await ok(user.docker('--context', 'web', 'version'));
  });

  test('a configuration that the engine refuses is taken back, and the engine runs as before', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm', engine: true });
    await ok(user.slipway('create', 'web', ...at(host)));
    const before = await host.must('cat /etc/docker/daemon.json');
    const bad = await user.slipway('provision', 'web', '--engine-opt', 'no-such-option=1');
    expect(bad.code).toBe(7);
    expect(bad.stderr).toContain('the engine did not start with the new configuration, so the old one was put back');
    expect(bad.stderr).toContain('no-such-option');
    expect(await host.must('cat /etc/docker/daemon.json')).toBe(before);
    await ok(user.docker('--context', 'web', 'version'));
    await ok(user.slipway('provision', 'web', '--engine-opt', 'log-driver=local'));
    expect((await ok(user.docker('--context', 'web', 'info', '--format', '{{.LoggingDriver}}'))).stdout.trim()).toBe(
      'local',
    );
    await ok(user.slipway('provision', 'web', '--engine-opt='));
    expect((await ok(user.docker('--context', 'web', 'info', '--format', '{{.LoggingDriver}}'))).stdout.trim()).toBe(
      'json-file',
    );
  });

  test('a system that Slipway does not know, and a host without the engine it was told to find, are left alone', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm' });
    const none = await user.slipway('create', 'web', ...at(host), '--engine-source', 'none');
    expect(none.code).toBe(7);
    expect(none.stderr).toContain('has no engine, and --engine-source none installs none');
    await host.must('set -e; rm /etc/os-release; printf "ID=plan9\\nPRETTY_NAME=\\"Plan 9\\"\\n" >/etc/os-release');
    const strange = await user.slipway('create', 'web', '--engine-source', 'distro');
    expect(strange.code).toBe(8);
    expect(strange.stderr).toContain('runs Plan 9; Slipway provisions Debian, Ubuntu and their kin');
    expect(await host.must('ls -d /etc/docker 2>/dev/null || echo none')).toBe('none');
  });
});

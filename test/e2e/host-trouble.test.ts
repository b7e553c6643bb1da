import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok, type Outcome, type User } from './slipway.ts';
import { engineStarts, expectAnswer, recordOf, trouble, until } from './trouble.ts';

/** Holds apt's lock as another apt would, until /run/release is there. */
const HOLD_LOCK = `perl -e '
  use Fcntl;
  open my $file, "+>", "/var/lib/dpkg/lock-frontend" or die;
  my $lock = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0);
  fcntl($file, F_SETLK, $lock) or die "$!";
  select(undef, undef, undef, 0.1) until -e "/run/release";
' >/dev/null 2>&1 &
until grep -q "FLOCK\\|POSIX" /proc/locks && ! dpkg --configure -a 2>/dev/null; do sleep 0.1; done`;

describeOnBed('a host in trouble', () => {
  let shielded: BedHost;
  let user: User;
  let blocked: Promise<{ readonly outcome: Outcome; readonly seconds: number }>;
  beforeAll(async () => {
    [shielded, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), newUser()]);
    await shielded.must('iptables -I INPUT -p tcp --dport 2376 -j DROP');
    // Takes as long as an engine may take to answer, so it runs beside all other tests.
    const began = performance.now();
    blocked = user
      .slipway('create', 'shielded', ...at(shielded))
      .then((outcome) => ({ outcome, seconds: (performance.now() - began) / 1000 }));
  });
  afterAll(async () => {
    await Promise.all([shielded[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  describe('a host on which the engine can not be installed', () => {
    let host: BedHost;
    beforeAll(async () => {
      host = await startHost({ suite: 'trixie' });
    });
    afterAll(async () => host[Symbol.asyncDispose]());

    const installed = async (): Promise<string> =>
      (await host.exec(`dpkg-query -W -f '\${db:Status-Status}' docker.io`)).stdout;

    test('each reason is told, nothing is half installed, and create finishes once it is gone', async () => {
      await using user = await newUser();
      const again = () => user.slipway('create', 'web');

      const none = await trouble(user.slipway('create', 'web', ...at(host), '--engine-source', 'none'));
      expect(none).toMatchObject({
        status: 7,
        sentence: `${host.address} has no engine, and --engine-source none installs none`,
      });
      expect(none.hint).toContain('--engine-source docker or distro');
      expect(await recordOf(user, 'web')).toMatchObject({
        phase: 'created',
        failure: { step: 'facts', code: 'ENGINE_MISSING' },
      });

      await host.must(
        `cp -a /var/lib /root/ && mount -t tmpfs -o size=500m tmpfs /var/lib && cp -a /root/lib/. /var/lib/`,
      );
      const full = await trouble(user.slipway('create', 'web', '--engine-source', 'distro'));
      expect(full.status).toBe(7);
      expect(full.sentence).toMatch(/has \d+ MB free on \/var\/lib; installing the engine takes about 600 MB/);
      expect(await recordOf(user, 'web')).toMatchObject({ phase: 'created', failure: { code: 'HOST_FULL' } });
      await host.must('umount /var/lib');
      // Not even its configuration was laid.
      expect((await host.exec('test -e /etc/docker')).code).not.toBe(0);

      await host.must(`
      cd /etc/apt/sources.list.d && cp debian.sources /root/ && mv /var/lib/apt/lists /root/ && mkdir /var/lib/apt/lists
      sed -i 's,^URIs:.*,URIs: http://127.0.0.1:9/debian,' debian.sources
      apt-cache gencaches`);
      const gone = await trouble(again());
      expect(gone).toMatchObject({
        status: 7,
        sentence: expect.stringContaining(
          `failed on ${host.address}: the package lists of the host have no docker.io`,
        ) as string,
      });
      expect(gone.detail.join('\n')).toContain('127.0.0.1');
      expect(await recordOf(user, 'web')).toMatchObject({
        phase: 'created',
        failure: { step: 'install-engine', code: 'REMOTE_COMMAND' },
      });
      await host.must(`
      mv /root/debian.sources /etc/apt/sources.list.d/ && rm -r /var/lib/apt/lists && mv /root/lists /var/lib/apt/
      apt-cache gencaches`);

      // Somebody else's apt died in the middle, and yet another one is at work.
      const install =
        'DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends docker.io >/dev/null 2>&1';
      await host.must(`setsid sh -c '${install}' >/dev/null 2>&1 &`);
      await until('docker.io is unpacked', async () => /unpacked|half|installed/.test(await installed()));
      await host.exec('pkill -9 -x apt-get; pkill -9 -x dpkg');
      await host.must(HOLD_LOCK);
      const waiting = user.start('create', 'web');
      await until('it waits for the lock', async () => (await host.exec(`pgrep -f 'apt-get.* check'`)).code === 0);
      expect(waiting.process.exitCode).toBeNull();
      await host.must('touch /run/release');
      await ok(waiting.ended);
      await expectAnswer(user, 'web');
      expect(await installed()).toBe('installed');
      expect(await host.must('dpkg --audit')).toBe('');
    });
  });

  describe('a host on which the engine does not do as it is told', () => {
    let host: BedHost;
    let user: User;
    beforeAll(async () => {
      [host, user] = await Promise.all([startHost({ suite: 'bookworm', engine: true }), newUser()]);
      await ok(user.slipway('create', 'web', ...at(host)));
    });
    afterAll(async () => {
      await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
    });

    test('a full /etc/docker changes nothing there, and the engine goes on', async () => {
      await host.must(`
      cp -a /etc/docker /root/before && mount -t tmpfs -o size=64k tmpfs /etc/docker && cp -a /root/before/. /etc/docker/
      head -c 100000 /dev/zero >/etc/docker/fill 2>/dev/null || true`);
      const starts = await engineStarts(host);
      const full = await trouble(user.slipway('provision', 'web', '--engine-label', 'room=none'));
      expect(full).toMatchObject({
        status: 7,
        sentence: `"Configure the engine and restart it" failed on ${host.address}: its disk is full`,
        hint: 'Make room on the host, then run the same command again: it goes on from here',
      });
      expect(await recordOf(user, 'web')).toMatchObject({
        phase: 'ready',
        failure: { step: 'configure-engine', code: 'HOST_FULL' },
      });
      await host.must('rm /etc/docker/fill && diff -r /root/before /etc/docker');
      expect(await engineStarts(host)).toBe(starts);
      await expectAnswer(user, 'web');
      await host.must('umount /etc/docker');
      await ok(user.slipway('provision', 'web'));
      const { stdout } = await ok(user.docker('--context', 'web', 'info', '--format', '{{.Labels}}'));
      expect(stdout.trim()).toBe('[room=none]');
    });

    test('a configuration that the engine refuses is taken back, and its journal says why', async () => {
      const files = 'cd /etc && sha256sum docker/daemon.json docker/slipway/* systemd/system/docker.service.d/*';
      const before = await host.must(files);
      const refused = await trouble(user.slipway('provision', 'web', '--engine-opt', 'bogus-key=1'));
      expect(refused).toMatchObject({
        status: 7,
        sentence: `"Configure the engine and restart it" failed on ${host.address}: the engine did not start with the new configuration, so the old one was put back`,
      });
      expect(refused.detail.join('\n')).toContain('bogus-key');
      expect(await host.must(files)).toBe(before);
      await expectAnswer(user, 'web');
      await ok(user.slipway('provision', 'web', '--engine-opt', 'log-driver=local'));
      const { stdout } = await ok(user.docker('--context', 'web', 'info', '--format', '{{.LoggingDriver}}'));
      expect(stdout.trim()).toBe('local');
      expect(await recordOf(user, 'web')).not.toHaveProperty('failure');
    });

    test('a masked unit is left to its owner', async () => {
      await host.must('systemctl mask --now docker.service');
      const masked = await trouble(user.slipway('provision', 'web'));
      expect(masked.status).toBe(7);
      expect(masked.detail.join('\n')).toContain('masked');
      await host.must('systemctl unmask docker.service');
      await ok(user.slipway('provision', 'web'));
      await expectAnswer(user, 'web');
    });

    test('an engine that somebody opened to callers without a certificate is called open', async () => {
      await host.must(`
      sed 's/"tlsverify": true/"tlsverify": false/' /etc/docker/daemon.json >/etc/docker/open.json
      printf '[Service]\\nExecStart=\\nExecStart=dockerd --config-file=/etc/docker/open.json\\n' \\
        >/etc/systemd/system/docker.service.d/90-open.conf
      systemctl daemon-reload && systemctl restart docker.service`);
      const open = await trouble(user.slipway('provision', 'web'));
      expect(open).toMatchObject({
        status: 9,
        sentence: `The engine at tcp://${host.address}:2376 answers callers without a client certificate`,
      });
      expect(await recordOf(user, 'web')).toMatchObject({ failure: { step: 'verify', code: 'ENGINE_OPEN' } });
      await host.must(
        'rm /etc/systemd/system/docker.service.d/90-open.conf && systemctl daemon-reload && systemctl restart docker',
      );
      await ok(user.slipway('provision', 'web'));
      await expectAnswer(user, 'web');
    });

    test('a system that Slipway does not know is named', async () => {
      await host.must(`cp -L /etc/os-release /root/os-release && rm /etc/os-release
      printf 'ID=fedora\\nPRETTY_NAME="Fedora Linux 43"\\n' >/etc/os-release`);
      const fedora = await trouble(user.slipway('create', 'other', ...at(host)));
      expect(fedora).toMatchObject({
        status: 8,
        sentence: `${host.address} runs Fedora Linux 43; Slipway provisions Debian, Ubuntu and their kin`,
      });
      expect(await recordOf(user, 'other')).toMatchObject({ phase: 'created', failure: { code: 'OS_UNSUPPORTED' } });
      await host.must('mv /root/os-release /etc/os-release && mv /run/systemd/system /run/systemd/elsewhere');
      const init = await trouble(user.slipway('create', 'other'));
      expect(init.status).toBe(8);
      expect(init.sentence).toContain('does not run systemd');
      await host.must('mv /run/systemd/elsewhere /run/systemd/system');
      await ok(user.slipway('rm', 'other'));
    });
  });

  test('a firewall before the engine ends in bounded time, and says so', async () => {
    const { outcome, seconds } = await blocked;
    const refused = await trouble(outcome);
    expect(seconds).toBeLessThan(120);
    expect(refused).toMatchObject({
      status: 9,
      sentence: `The engine at tcp://${shielded.address}:2376 can't be reached: no answer within 10 s`,
    });
    expect(refused.hint).toContain('firewall');
    expect(await recordOf(user, 'shielded')).toMatchObject({
      phase: 'created',
      failure: { step: 'verify', code: 'ENGINE_UNREACHABLE' },
    });
    await shielded.must('iptables -D INPUT -p tcp --dport 2376 -j DROP');
    const starts = await engineStarts(shielded);
    await ok(user.slipway('create', 'shielded'));
    await expectAnswer(user, 'shielded');
    expect(await engineStarts(shielded)).toBe(starts);
  });
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';
import {
  countEngineStarts,
  expectEngineAnswer,
  readRecord,
  expectFailure,
  waitForStderr,
  waitUntil,
} from './assertions.ts';

/** Holds apt's lock, as another apt would, until /run/release exists. */
const HOLD_LOCK = `perl -e '
  use Fcntl;
  open my $file, "+>", "/var/lib/dpkg/lock-frontend" or die;
  my $lock = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0);
  fcntl($file, F_SETLK, $lock) or die "$!";
  select(undef, undef, undef, 0.1) until -e "/run/release";
' >/dev/null 2>&1 &
until grep -q "FLOCK\\|POSIX" /proc/locks && ! dpkg --configure -a 2>/dev/null; do sleep 0.1; done`;

describeOnBed('a host with problems', () => {
  let shielded: BedHost;
  let user: User;
  let blockedCreate: Promise<{ readonly outcome: Outcome; readonly seconds: number }>;
  beforeAll(async () => {
    [shielded, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
    await shielded.runOrThrow('iptables -I INPUT -p tcp --dport 2376 -j DROP');
    // This takes as long as the wait for an engine, so it runs concurrently with all other tests.
    const startedAt = performance.now();
    blockedCreate = user
      .slipway('create', 'shielded', ...hostFlags(shielded))
      .then((outcome) => ({ outcome, seconds: (performance.now() - startedAt) / 1000 }));
  });
  afterAll(async () => {
    await Promise.all([shielded[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  describe('a host that cannot install the engine', () => {
    let host: BedHost;
    beforeAll(async () => {
      host = await startHost({ suite: 'trixie' });
    });
    afterAll(async () => host[Symbol.asyncDispose]());

    const readPackageState = async (): Promise<string> =>
      (await host.exec(`dpkg-query -W -f '\${db:Status-Status}' docker.io`)).stdout;

    test('reports each reason, installs nothing partially, and create finishes once the reason is gone', async () => {
      await using user = await createUser();
      const retryCreate = () => user.slipway('create', 'web');

      const none = await expectFailure(user.slipway('create', 'web', ...hostFlags(host), '--engine-source', 'none'));
      expect(none).toMatchObject({
        status: 7,
        sentence: `${host.address} has no engine, and with --engine-source none Slipway does not install one`,
      });
      expect(none.hint).toContain('--engine-source docker or distro');
      expect(await readRecord(user, 'web')).toMatchObject({
        phase: 'created',
        failure: { step: 'facts', code: 'ENGINE_MISSING' },
      });

      // What stands in the engine's way is found before anything changes, and a dry run says the same.
      const listen = 'socket(my $s, 2, 1, 0); bind($s, pack("S n a4 x8", 2, 2376, "\\0" x 4)) && listen($s, 1); sleep';
      await host.runOrThrow(`
        systemd-run --quiet --unit=web perl -e '${listen}'
        systemd-run --quiet --unit=lazy --socket-property=ListenStream=12376 sleep 999
        until grep -q ':0948 .* 0A ' /proc/net/tcp; do sleep 0.1; done`);
      for (const more of [['--dry-run'], []]) {
        const distro = ['--engine-source', 'distro', ...more];
        const held = await expectFailure(user.slipway('create', 'web', ...distro));
        expect(held.status).toBe(7);
        expect(held.sentence).toMatch(/can't listen on port 2376: perl \(PID \d+, web\.service\) listens there$/);
        // What the hint says is refused by name as well here.
        const flag = /--engine-port \d+/.exec(held.hint)?.[0].split(' ') ?? [];
        const managed = await expectFailure(user.slipway('create', 'web', ...flag, ...distro));
        expect(managed.sentence).toContain("can't listen on port 12376: lazy.socket listens there");
      }
      await host.runOrThrow('systemctl stop web lazy.socket; systemctl mask -q docker.service docker.socket');
      for (const more of [['--dry-run'], []]) {
        const masked = await expectFailure(
          user.slipway('create', 'web', '--engine-port', '2376', '--engine-source', 'distro', ...more),
        );
        expect(masked).toMatchObject({
          status: 7,
          sentence: `The engine on ${host.address} can't start: docker.service and docker.socket are masked there`,
        });
        expect(await host.runOrThrow('readlink /etc/systemd/system/docker.service')).toBe('/dev/null');
        if (more.length === 0) await host.runOrThrow(/sudo (systemctl .*)$/.exec(masked.hint)?.[1] ?? 'false');
      }
      expect((await host.exec('test -e /etc/docker')).code).not.toBe(0);

      await host.runOrThrow(
        `cp -a /var/lib /root/ && mount -t tmpfs -o size=500m tmpfs /var/lib && cp -a /root/lib/. /var/lib/`,
      );
      const full = await expectFailure(user.slipway('create', 'web', '--engine-source', 'distro'));
      expect(full.status).toBe(7);
      expect(full.sentence).toMatch(/has \d+ MB free on \/var\/lib; installing the engine takes about 600 MB/);
      expect(await readRecord(user, 'web')).toMatchObject({ phase: 'created', failure: { code: 'HOST_FULL' } });
      await host.runOrThrow('umount /var/lib');
      // Not even its configuration was written.
      expect((await host.exec('test -e /etc/docker')).code).not.toBe(0);

      await host.runOrThrow(`
      cd /etc/apt/sources.list.d && cp debian.sources /root/ && mv /var/lib/apt/lists /root/ && mkdir /var/lib/apt/lists
      sed -i 's,^URIs:.*,URIs: http://127.0.0.1:9/debian,' debian.sources
      apt-cache gencaches`);
      const gone = await expectFailure(retryCreate());
      expect(gone).toMatchObject({
        status: 7,
        sentence: expect.stringContaining(
          `failed on ${host.address}: docker.io does not exist in the package lists of the host`,
        ) as string,
      });
      expect(gone.detail.join('\n')).toContain('127.0.0.1');
      expect(await readRecord(user, 'web')).toMatchObject({
        phase: 'created',
        failure: { step: 'check-packages', code: 'REMOTE_COMMAND' },
      });
      await host.runOrThrow(`
      mv /root/debian.sources /etc/apt/sources.list.d/ && rm -r /var/lib/apt/lists && mv /root/lists /var/lib/apt/
      apt-cache gencaches`);

      // Another apt was killed while it installed, and a third one is running.
      const install =
        'DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends docker.io >/dev/null 2>&1';
      await host.runOrThrow(`setsid sh -c '${install}' >/dev/null 2>&1 &`);
      await waitUntil('docker.io is unpacked', async () =>
        /^(unpacked|half-|installed)/.test(await readPackageState()),
      );
      await host.exec('pkill -9 -x apt-get; pkill -9 -x dpkg');
      await host.runOrThrow(HOLD_LOCK);
      const waiting = user.start('create', 'web');
      await waitForStderr(waiting, /Waiting for apt, which perl \(PID \d+\) is using/);
      expect(waiting.process.exitCode).toBeNull();
      await host.runOrThrow('touch /run/release');
      await expectSuccess(waiting.ended);
      await expectEngineAnswer(user, 'web');
      expect(await readPackageState()).toBe('installed');
      expect(await host.runOrThrow('dpkg --audit')).toBe('');
    });
  });

  describe('a host whose engine does not cooperate', () => {
    let host: BedHost;
    let user: User;
    beforeAll(async () => {
      [host, user] = await Promise.all([startHost({ suite: 'bookworm', engine: true }), createUser()]);
      await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
    });
    afterAll(async () => {
      await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
    });

    test('changes nothing when /etc/docker is full, and the engine keeps running', async () => {
      await host.runOrThrow(`
      cp -a /etc/docker /root/before && mount -t tmpfs -o size=64k tmpfs /etc/docker && cp -a /root/before/. /etc/docker/
      head -c 100000 /dev/zero >/etc/docker/fill 2>/dev/null || true`);
      const starts = await countEngineStarts(host);
      const full = await expectFailure(user.slipway('provision', 'web', '--engine-label', 'room=none'));
      expect(full).toMatchObject({
        status: 7,
        sentence: `"Configure the engine and restart it" failed on ${host.address}: its disk is full`,
        hint: 'Free disk space on the host. To continue, run the same command again',
      });
      expect(await readRecord(user, 'web')).toMatchObject({
        phase: 'ready',
        failure: { step: 'configure-engine', code: 'HOST_FULL' },
      });
      await host.runOrThrow('rm /etc/docker/fill && diff -r /root/before /etc/docker');
      expect(await countEngineStarts(host)).toBe(starts);
      await expectEngineAnswer(user, 'web');
      await host.runOrThrow('umount /etc/docker');
      await expectSuccess(user.slipway('provision', 'web'));
      const { stdout } = await expectSuccess(user.docker('--context', 'web', 'info', '--format', '{{.Labels}}'));
      expect(stdout.trim()).toBe('[room=none]');
    });

    test("takes back a configuration that the engine refuses, and shows the journal's reason", async () => {
      const files = 'cd /etc && sha256sum docker/daemon.json docker/slipway/* systemd/system/docker.service.d/*';
      const before = await host.runOrThrow(files);
      const refused = await expectFailure(user.slipway('provision', 'web', '--engine-opt', 'bogus-key=1'));
      expect(refused).toMatchObject({
        status: 7,
        sentence: `"Configure the engine and restart it" failed on ${host.address}: the engine did not start with the new configuration, so the old one was restored`,
      });
      expect(refused.detail.join('\n')).toContain('bogus-key');
      expect(await host.runOrThrow(files)).toBe(before);
      await expectEngineAnswer(user, 'web');
      await expectSuccess(user.slipway('provision', 'web', '--engine-opt', 'log-driver=local'));
      const { stdout } = await expectSuccess(user.docker('--context', 'web', 'info', '--format', '{{.LoggingDriver}}'));
      expect(stdout.trim()).toBe('local');
      expect(await readRecord(user, 'web')).not.toHaveProperty('failure');
    });

    test('does not unmask a masked unit', async () => {
      await host.runOrThrow('systemctl mask --now docker.service');
      const masked = await expectFailure(user.slipway('provision', 'web'));
      expect(masked).toMatchObject({
        status: 7,
        sentence: `The engine on ${host.address} can't start: docker.service is masked there`,
        hint: expect.stringMatching(/: sudo systemctl unmask docker\.service$/) as string,
      });
      await host.runOrThrow('systemctl unmask docker.service');
      await expectSuccess(user.slipway('provision', 'web'));
      await expectEngineAnswer(user, 'web');
    });

    test('reports an engine that accepts clients without a certificate', async () => {
      // The running engine has read another file than the one that is there now.
      await host.runOrThrow(`
      cp /etc/docker/daemon.json /root/daemon.json && sed -i 's/"tlsverify": true/"tlsverify": false/' /etc/docker/daemon.json
      systemctl restart docker.service && cp /root/daemon.json /etc/docker/daemon.json`);
      const open = await expectFailure(user.slipway('provision', 'web'));
      expect(open).toMatchObject({
        status: 9,
        sentence: `The engine at tcp://${host.address}:2376 answers callers without a client certificate`,
      });
      expect(await readRecord(user, 'web')).toMatchObject({ failure: { step: 'verify', code: 'ENGINE_OPEN' } });
      await host.runOrThrow('systemctl restart docker');
      await expectSuccess(user.slipway('provision', 'web'));
      await expectEngineAnswer(user, 'web');
    });

    test('names an unsupported operating system', async () => {
      await host.runOrThrow(`cp -L /etc/os-release /root/os-release && rm /etc/os-release
      printf 'ID=fedora\\nPRETTY_NAME="Fedora Linux 43"\\n' >/etc/os-release`);
      const fedora = await expectFailure(user.slipway('create', 'other', ...hostFlags(host)));
      expect(fedora).toMatchObject({
        status: 8,
        sentence: `${host.address} runs Fedora Linux 43; Slipway supports Debian, Ubuntu and their derivatives`,
      });
      expect(await readRecord(user, 'other')).toMatchObject({ phase: 'created', failure: { code: 'OS_UNSUPPORTED' } });
      await host.runOrThrow('mv /root/os-release /etc/os-release && mv /run/systemd/system /run/systemd/elsewhere');
      const withoutSystemd = await expectFailure(user.slipway('create', 'other'));
      expect(withoutSystemd.status).toBe(8);
      expect(withoutSystemd.sentence).toContain('does not run systemd');
      await host.runOrThrow('mv /run/systemd/elsewhere /run/systemd/system');
      await expectSuccess(user.slipway('rm', 'other'));
    });
  });

  test('reports a firewall in front of the engine after a bounded time', async () => {
    const { outcome, seconds } = await blockedCreate;
    const refused = await expectFailure(outcome);
    expect(seconds).toBeLessThan(120);
    expect(refused).toMatchObject({
      status: 9,
      sentence: `The engine at tcp://${shielded.address}:2376 could not be reached: no answer within 10 s`,
    });
    expect(refused.hint).toContain('firewall');
    expect(await readRecord(user, 'shielded')).toMatchObject({
      phase: 'created',
      failure: { step: 'verify', code: 'ENGINE_UNREACHABLE' },
    });
    await shielded.runOrThrow('iptables -D INPUT -p tcp --dport 2376 -j DROP');
    const starts = await countEngineStarts(shielded);
    await expectSuccess(user.slipway('create', 'shielded'));
    await expectEngineAnswer(user, 'shielded');
    expect(await countEngineStarts(shielded)).toBe(starts);
  });
});

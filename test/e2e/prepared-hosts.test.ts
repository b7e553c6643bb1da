/** Hosts that were set up as the pages of Docker and Kubernetes say, or with the common Ansible role. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { CREATE_REPOSITORY_SCRIPT, NEW_VERSION, OLD_VERSION } from './apt-repositories.ts';
import { expectEngineAnswer, expectFailure, waitForStderr } from './assertions.ts';
import { countEngineStarts } from './inspect-host.ts';
import { createUser, describeOnBed, expectSuccess, hostFlags, type User } from './test-user.ts';

const LISTING = '/etc/apt/sources.list.d/docker.list';

/** The state of a host that belongs to its administrator: files below /etc, and packages with their marks. */
type HostSnapshot = { readonly files: ReadonlyMap<string, string>; readonly packages: ReadonlyMap<string, string> };

/** Files that packages write again when another package is installed. */
const REWRITTEN = /^\/etc\/(ld\.so\.cache|(group|gshadow|passwd|shadow|subuid|subgid)-?)$/;

async function snapshotHost(host: BedHost): Promise<HostSnapshot> {
  const toMap = (text: string): ReadonlyMap<string, string> =>
    new Map(text.split('\n').map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]));
  const files = await host.runOrThrow(
    `find /etc -xdev '(' -type f -printf '%p %m %U:%G ' -exec sh -c 'sha256sum <"$0"' {} ';' ')' -o -type l -printf '%p %l\\n'`,
  );
  const packages = await host.runOrThrow(
    `dpkg-query -W -f '\${Package}:\${Architecture} \${Version} \${db:Status-Abbrev}\\n'; apt-mark showauto | sed 's/$/-mark auto/'`,
  );
  return {
    files: new Map([...toMap(files)].filter(([path]) => !REWRITTEN.test(path))),
    packages: toMap(packages),
  };
}

/** Expects everything that was there before to be there still, and unchanged. */
function expectKept(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): void {
  expect(Object.fromEntries([...before].filter(([key, value]) => after.get(key) !== value))).toEqual({});
}

/** Adds an empty package to the repository of the host's tests, and installs it. */
const installThinPackage = (name: string, fields = ''): string => `
  rm -rf /root/thin && mkdir -p /root/thin/DEBIAN && cd /root
  printf 'Package: %s\\nVersion: 99.0\\nArchitecture: all\\nMaintainer: nobody\\nDescription: thin\\n${fields}' ${name} >thin/DEBIAN/control
  dpkg-deb -Znone -b thin thin.deb >/dev/null && dpkg -i thin.deb >/dev/null && rm -r thin thin.deb`;

/** Docker's page: the key in /etc/apt/keyrings, and a list that names it. */
const setUpRepository = (keyFile: string): string => `
  install -m 0755 -d /etc/apt/keyrings
  cp /srv/repo/debian/gpg ${keyFile} && chmod a+r ${keyFile}
  echo "deb [arch=$(dpkg --print-architecture) signed-by=${keyFile}] file:///srv/repo/debian bookworm stable" >${LISTING}
  apt-get update -qq >/dev/null`;

// Each of these tests runs the package manager a dozen times.
const SLOW_TEST = { timeout: 360_000 };

describeOnBed('a host that was prepared', () => {
  let host: BedHost;
  let user: User;
  let key: string;
  // One host for all: to create the repository takes longer than most of what is tested.
  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'bookworm' }), createUser()]);
    key = await host.runOrThrow(CREATE_REPOSITORY_SCRIPT);
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test("as Docker's page says gets its engine from there, and loses nothing", SLOW_TEST, async () => {
    await host.runOrThrow(setUpRepository('/etc/apt/keyrings/docker.asc'));
    await host.runOrThrow(installThinPackage('podman-docker', 'Conflicts: docker-ce-cli, docker.io\\n'));
    const before = await snapshotHost(host);

    const unknownKey = await expectFailure(user.slipway('create', 'web', ...hostFlags(host)));
    expect(unknownKey.sentence).toContain(
      `Docker's repository in ${LISTING} is verified with the key ${key}, not with`,
    );
    expect(unknownKey.hint).toContain(`--engine-repository-key ${key}`);

    // What else is on the host would be removed: a dry run says so, and so does the run, which changes nothing.
    for (const more of [['--dry-run'], []]) {
      const removing = await expectFailure(
        user.slipway('create', 'web', '--engine-repository-key', key, ...more, ...hostFlags(host)),
      );
      expect(removing.status).toBe(7);
      expect(removing.sentence).toContain('installing docker-ce would remove podman-docker (99.0)');
      expect(removing.hint).toContain('sudo apt-get remove podman-docker');
      const after = await snapshotHost(host);
      expectKept(before.files, after.files);
      expectKept(after.files, before.files);
      expectKept(before.packages, after.packages);
      expectKept(after.packages, before.packages);
    }
    await host.runOrThrow('DEBIAN_FRONTEND=noninteractive apt-get remove -qq -y podman-docker >/dev/null 2>&1');

    const plan = await expectSuccess(
      user.slipway('create', 'web', '--engine-version', '26.1.4', '--dry-run', '--json'),
    );
    const { steps } = JSON.parse(plan.stdout) as {
      steps: { id: string; packages?: { name: string; to?: string }[] }[];
    };
    const planned = steps.find(({ id }) => id === 'check-packages')?.packages ?? [];
    expect(planned.find(({ name }) => name === 'docker-ce')).toEqual({
      name: 'docker-ce',
      change: 'install',
      to: OLD_VERSION,
    });

    await expectSuccess(user.slipway('create', 'web', '--engine-version', '26.1.4'));
    await expectEngineAnswer(user, 'web');
    expect(await countEngineStarts(host)).toBe(1);
    expect(await host.runOrThrow('ls /etc/apt/sources.list.d')).toBe('debian.sources\ndocker.list');

    const upgradePlan = await expectSuccess(user.slipway('upgrade', 'web', '--engine-version=', '--dry-run'));
    expect(upgradePlan.stdout).toContain(`upgrade docker-ce ${OLD_VERSION} -> ${NEW_VERSION}`);
    await expectSuccess(user.slipway('upgrade', 'web', '--engine-version='));
    await expectSuccess(user.slipway('rm', '--deprovision', 'web'));
    const after = await snapshotHost(host);
    expectKept(before.files, after.files);
    expectKept(new Map([...before.packages].filter(([name]) => !name.startsWith('podman-docker'))), after.packages);
    expect([...after.files.keys()].filter((path) => /slipway/.test(path))).toEqual([]);
    await host.runOrThrow('docker version && apt-get update -qq');
  });

  test('with an engine by the common Ansible role is the same after rm --deprovision', SLOW_TEST, async () => {
    // The engine and its packages are there from the test before.
    await host.runOrThrow(`rm /etc/apt/keyrings/docker.asc
      ${setUpRepository('/etc/apt/trusted.gpg.d/docker.asc')}
      DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --allow-downgrades docker-ce=${OLD_VERSION} docker-ce-cli=${OLD_VERSION} >/dev/null 2>&1
      apt-get remove -qq -y docker-buildx-plugin >/dev/null 2>&1
      mkdir -p /etc/docker
      printf '{\\n    "log-opts": {\\n        "max-size": "100m"\\n    }\\n}' >/etc/docker/daemon.json
      usermod -aG docker deploy && systemctl enable -q docker && systemctl restart docker`);
    const before = await snapshotHost(host);

    const flags = [...hostFlags(host, 'deploy'), '--engine-repository-key', key];
    await expectSuccess(user.slipway('create', 'web', ...flags, '--engine-version', '26.1'));
    await expectEngineAnswer(user, 'web');
    expectKept(before.packages, (await snapshotHost(host)).packages);

    // Another version comes from the repository that is there: apt reads no list with a second entry and another key.
    await expectSuccess(user.slipway('provision', 'web', '--engine-version', '27.3.1'));
    expect(await host.runOrThrow(`dpkg-query -W -f '\${Version}' docker-ce`)).toBe(NEW_VERSION);
    await expectSuccess(user.slipway('provision', 'web', '--engine-version', OLD_VERSION));
    await expectSuccess(user.slipway('rm', '--deprovision', 'web'));
    const after = await snapshotHost(host);
    expectKept(before.packages, after.packages);
    expectKept(after.packages, before.packages);
    const withoutFormat = (files: HostSnapshot['files']) =>
      new Map([...files].filter(([path]) => path !== '/etc/docker/daemon.json'));
    expectKept(withoutFormat(before.files), withoutFormat(after.files));
    expectKept(withoutFormat(after.files), withoutFormat(before.files));
    expect(JSON.parse(await host.runOrThrow('cat /etc/docker/daemon.json'))).toEqual({
      'log-opts': { 'max-size': '100m' },
    });
    await host.runOrThrow('docker version');
  });

  test('for Kubernetes keeps its held packages, waits for apt, and gets no second engine', SLOW_TEST, async () => {
    await host.runOrThrow(`rm /etc/apt/trusted.gpg.d/docker.asc
      ${setUpRepository('/etc/apt/keyrings/docker.asc')}
      DEBIAN_FRONTEND=noninteractive apt-get purge -qq -y docker-ce docker-ce-cli docker-compose-plugin >/dev/null 2>&1
      systemctl stop docker.socket 2>/dev/null; systemctl daemon-reload; rm -rf /run/docker.sock /etc/docker
      ${installThinPackage('kubelet')}
      apt-mark hold -qq kubelet containerd.io`);
    const before = await snapshotHost(host);
    const flags = [...hostFlags(host), '--engine-repository-key', key];

    // Something else serves the socket: first a unit's own process, then a socket of the service manager.
    await host.runOrThrow(`
      cp /usr/bin/perl /usr/local/bin/balenad
      systemd-run --quiet --unit=balena balenad -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new(Local => "/run/docker.sock", Listen => 1); sleep 999'
      until [ -S /run/docker.sock ]; do sleep 0.1; done`);
    for (const more of [['--dry-run'], []]) {
      const served = await expectFailure(user.slipway('create', 'web', ...flags, ...more));
      expect(served.status).toBe(7);
      expect(served.sentence).toMatch(
        /^\/usr\/local\/bin\/balenad \(PID \d+, balena\.service\) serves \/run\/docker\.sock on .*, and Slipway installs no second engine$/,
      );
      expect(served.hint).toContain('sudo systemctl disable --now balena.service');
    }
    await host.runOrThrow(`
      systemctl stop balena && rm -f /run/docker.sock /usr/local/bin/balenad
      mkdir -p /run/podman && ln -s /run/podman/podman.sock /run/docker.sock
      systemd-run --quiet --unit=podman --socket-property=ListenStream=/run/podman/podman.sock sleep 999`);
    const linked = await expectFailure(user.slipway('create', 'web'));
    expect(linked.sentence).toContain('podman.socket serves /run/docker.sock on');
    await host.runOrThrow('systemctl stop podman.socket podman.service; rm -f /run/docker.sock');

    // A package that somebody else left half installed is not repaired, since apt would remove packages for that.
    await host.runOrThrow(`${installThinPackage('theirs')}
      sed -i '/^Package: theirs$/,/^$/s/^Status: .*/Status: install ok half-configured/' /var/lib/dpkg/status`);
    const broken = await expectFailure(user.slipway('create', 'web'));
    expect(broken.sentence).toContain('packages that Slipway did not install are broken: theirs');
    expect(broken.hint).toContain('sudo dpkg --configure -a');
    await host.runOrThrow('dpkg --configure -a && dpkg --purge theirs');

    // apt itself waits for dpkg's lock, but not for the lock of its lists.
    await host.runOrThrow(`cat >/root/unattended-upgrade <<'END'
use Fcntl;
open(my $file, '>', '/var/lib/apt/lists/lock') or die $!;
my $lock = pack('s s l! l! i', F_WRLCK, 0, 0, 0, 0);
fcntl($file, F_SETLK, $lock) or die $!;
open(my $held, '>', '/run/held');
select(undef, undef, undef, 0.1) until -e '/run/release';
END
      setsid perl /root/unattended-upgrade >/dev/null 2>&1 &
      until [ -e /run/held ]; do sleep 0.1; done`);
    const waiting = user.start('create', 'web');
    await waitForStderr(waiting, /Waiting for apt, which unattended-upgrade \(PID \d+\) is using/);
    await host.runOrThrow('touch /run/release');
    await expectSuccess(waiting.ended);
    await expectEngineAnswer(user, 'web');
    await expectSuccess(user.slipway('upgrade', 'web'));
    await expectSuccess(user.slipway('rm', '--deprovision', 'web'));
    const after = await snapshotHost(host);
    expectKept(before.files, after.files);
    expectKept(before.packages, after.packages);
    expect(await host.runOrThrow('apt-mark showhold')).toBe('containerd.io\nkubelet');
  });
});

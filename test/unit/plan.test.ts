import { describe, expect, test } from 'vitest';
import type { EngineSpec } from '../../src/machine/model.ts';
import { ownerOf } from '../../src/provision/engine-owner.ts';
import { firstBootFilesFor, planDeprovision, planProvision } from '../../src/provision/plan.ts';
import { toPlannedSteps } from '../../src/provision/step.ts';
import type { Facts } from '../../src/provision/facts.ts';
import { catchError } from '../fakes/catch-error.ts';
import { factsAfter, bareHost, DEBIAN_UNIT, engineSpec, factsWith, planInput, hostWithEngine } from './host-facts.ts';

const planFor = (facts: Facts, more: Partial<EngineSpec> = {}) => planProvision(planInput(facts, more));
const shownPlanFor = (facts: Facts, more: Partial<EngineSpec> = {}) => toPlannedSteps(planFor(facts, more));
/** Returns one line for each step of a plan. */
const summaryOf = (facts: Facts, more: Partial<EngineSpec> = {}): readonly string[] =>
  shownPlanFor(facts, more).map(({ id, title, files }) => `${id}: ${title} (${files.length} files)`);
const plannedContent = (facts: Facts, path: string, more: Partial<EngineSpec> = {}): string | undefined =>
  planFor(facts, more)
    .flatMap(({ files }) => files)
    .find((file) => file.path === path)?.content;
const refusalOf = (facts: Facts, more: Partial<EngineSpec> = {}): string => {
  const error = catchError(() => planFor(facts, more));
  return `${error?.code}: ${error?.message} → ${error?.hint}`;
};

describe('planProvision, for a host without an engine', () => {
  test('writes the configuration before the package whose installation starts the engine', () => {
    expect(shownPlanFor(bareHost)).toMatchInlineSnapshot(`
      [
        {
          "files": [],
          "id": "check-packages",
          "template": "check-packages.debian.sh",
          "title": "Check what the installation would change",
          "variables": {
            "CODENAME": "bookworm",
            "DISTRIBUTION": "debian",
            "INSTALL_URL": "",
            "LISTING": "",
            "MODE": "check",
            "REPOSITORY_KEY": "9DC858229FC7DD38854AE2D88D81803C0EBFCD88",
            "REPOSITORY_URL": "https://download.docker.com/linux",
            "SOURCE": "docker",
            "VERSION": "",
            "VERSION_PATTERN": "",
          },
        },
        {
          "files": [
            {
              "change": "write",
              "path": "/etc/docker/slipway/ca.pem",
            },
            {
              "change": "write",
              "path": "/etc/docker/slipway/server-cert.pem",
            },
            {
              "change": "write",
              "path": "/etc/docker/slipway/server-key.pem",
            },
            {
              "change": "write",
              "path": "/etc/docker/slipway/state.json",
            },
            {
              "change": "write",
              "path": "/etc/systemd/system/docker.service.d/zz-slipway.conf",
            },
            {
              "change": "write",
              "path": "/etc/docker/daemon.json",
            },
          ],
          "id": "configure-engine",
          "template": "configure.sh",
          "title": "Write the engine's configuration and certificates",
          "variables": {
            "ENABLE": "no",
            "ENGINE": "none",
            "MANIFEST": "644 0 /etc/docker/slipway/ca.pem
      644 1 /etc/docker/slipway/server-cert.pem
      600 2 /etc/docker/slipway/server-key.pem
      600 3 /etc/docker/slipway/state.json
      644 4 /etc/systemd/system/docker.service.d/zz-slipway.conf
      = 5 /etc/docker/daemon.json",
          },
        },
        {
          "files": [],
          "id": "install-engine",
          "template": "install-engine.debian.sh",
          "title": "Install the engine (Docker's repository)",
          "variables": {
            "CODENAME": "bookworm",
            "DISTRIBUTION": "debian",
            "INSTALL_URL": "",
            "LISTING": "",
            "MODE": "install",
            "REPOSITORY_KEY": "9DC858229FC7DD38854AE2D88D81803C0EBFCD88",
            "REPOSITORY_URL": "https://download.docker.com/linux",
            "SOURCE": "docker",
            "VERSION": "",
            "VERSION_PATTERN": "",
          },
        },
      ]
    `);
  });

  test('installs from the distribution or by a script on request', () => {
    const installStep = (more: Partial<EngineSpec>) => shownPlanFor(bareHost, more).at(-1);
    expect(installStep({ source: 'distro', version: '20.10' })).toMatchObject({
      title: "Install the engine (the distribution's package)",
      variables: { SOURCE: 'distro', VERSION: '20.10' },
    });
    expect(installStep({ source: 'url', installUrl: 'https://get.example/x' })).toMatchObject({
      title: 'Install the engine (an install script)',
      variables: { SOURCE: 'url', INSTALL_URL: 'https://get.example/x' },
    });
    expect(installStep({ repositoryUrl: 'https://mirror.example', repositoryKey: 'ab'.repeat(20) })).toMatchObject({
      variables: { REPOSITORY_URL: 'https://mirror.example', REPOSITORY_KEY: 'AB'.repeat(20) },
    });
  });

  test("installs Ubuntu's packages on Ubuntu and its derivatives", () => {
    const os = { ...bareHost.os, id: 'linuxmint', idLike: ['ubuntu', 'debian'], codename: 'noble' };
    expect(shownPlanFor(factsWith(bareHost, { os })).at(-1)?.variables).toMatchObject({
      DISTRIBUTION: 'ubuntu',
      CODENAME: 'noble',
    });
  });

  test('refuses to install without a source, or by a script without an address', () => {
    expect(refusalOf(bareHost, { source: 'none' })).toMatchInlineSnapshot(
      `"ENGINE_MISSING: 192.0.2.10 has no engine, and with --engine-source none Slipway does not install one → Install an engine there, or choose --engine-source docker or distro"`,
    );
    expect(refusalOf(bareHost, { source: 'url' })).toMatchInlineSnapshot(
      `"USAGE: --engine-source url requires the address of an install script → Add --engine-install-url <url>"`,
    );
  });

  test('refuses a host without enough disk space before it writes anything', () => {
    expect(refusalOf(factsWith(bareHost, { freeKib: { '/': 100 * 1024, '/var': 9_000_000 } }))).toMatchInlineSnapshot(
      `"HOST_FULL: 192.0.2.10 has 100 MB free on /; installing the engine takes about 600 MB → Free disk space there, then run the same command again"`,
    );
  });
});

describe('planProvision, for a host with an engine', () => {
  test('plans the configuration and one restart', () => {
    expect(shownPlanFor(hostWithEngine)).toMatchInlineSnapshot(`
      [
        {
          "files": [
            {
              "change": "write",
              "path": "/etc/docker/slipway/ca.pem",
            },
            {
              "change": "write",
              "path": "/etc/docker/slipway/server-cert.pem",
            },
            {
              "change": "write",
              "path": "/etc/docker/slipway/server-key.pem",
            },
            {
              "change": "write",
              "path": "/etc/docker/slipway/state.json",
            },
            {
              "change": "write",
              "path": "/etc/systemd/system/docker.service.d/zz-slipway.conf",
            },
            {
              "change": "write",
              "path": "/etc/docker/daemon.json",
            },
          ],
          "id": "configure-engine",
          "template": "configure.sh",
          "title": "Configure the engine and restart it",
          "variables": {
            "ENABLE": "no",
            "ENGINE": "restart",
            "MANIFEST": "644 0 /etc/docker/slipway/ca.pem
      644 1 /etc/docker/slipway/server-cert.pem
      600 2 /etc/docker/slipway/server-key.pem
      600 3 /etc/docker/slipway/state.json
      644 4 /etc/systemd/system/docker.service.d/zz-slipway.conf
      = 5 /etc/docker/daemon.json",
          },
        },
      ]
    `);
  });

  test('keeps the Unix socket and adds the TLS port', () => {
    expect(plannedContent(hostWithEngine, '/etc/docker/daemon.json')).toMatchInlineSnapshot(`
      "{
        "hosts": [
          "fd://",
          "tcp://0.0.0.0:2376"
        ],
        "tls": true,
        "tlsverify": true,
        "tlscacert": "/etc/docker/slipway/ca.pem",
        "tlscert": "/etc/docker/slipway/server-cert.pem",
        "tlskey": "/etc/docker/slipway/server-key.pem"
      }
      "
    `);
    expect(plannedContent(hostWithEngine, '/etc/systemd/system/docker.service.d/zz-slipway.conf'))
      .toMatchInlineSnapshot(`
        "# Written by Slipway. Where dockerd listens stands in daemon.json, and dockerd refuses to hear it twice.
        [Service]
        ExecStart=
        ExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
        "
      `);
  });

  test("adds dockerd's default Unix socket where the unit names none", () => {
    const engineService = { ...hostWithEngine.engineService, definition: DEBIAN_UNIT.replace(' -H fd://', '') };
    expect(plannedContent(factsWith(hostWithEngine, { engineService }), '/etc/docker/daemon.json')).toContain(
      'unix:///var/run/docker.sock',
    );
    const daemonJson = '{"hosts":["unix:///mine.sock"]}';
    expect(
      plannedContent(factsWith(hostWithEngine, { engineService, daemonJson }), '/etc/docker/daemon.json'),
    ).not.toContain('/var/run/');
  });

  test("installs the requested version without a restart besides the package's own", () => {
    expect(summaryOf(hostWithEngine, { version: '28.2' })).toMatchInlineSnapshot(`
      [
        "check-packages: Check what the installation would change (0 files)",
        "configure-engine: Write the engine's configuration and certificates (6 files)",
        "install-engine: Install engine 28.2 over 20.10.24+dfsg1-1+deb12u1+b2 (0 files)",
      ]
    `);
    // If that installation fails, the running engine has not read its files yet, and the host remembers that.
    expect(shownPlanFor(hostWithEngine, { version: '28.2' })[1]?.variables.ENGINE).toBe('later');
    expect(summaryOf(hostWithEngine, { version: '20.10' })).toHaveLength(1);
    const ce = { 'docker-ce': { state: 'installed', version: '5:28.2.2-1~debian.12~bookworm' } };
    expect(summaryOf(factsWith(hostWithEngine, { packages: ce }), { version: '28.2.2' })).toHaveLength(1);
    expect(summaryOf(factsWith(hostWithEngine, { packages: ce }), { version: '5:28.2' })).toHaveLength(1);
    expect(
      shownPlanFor(factsWith(hostWithEngine, { packages: ce }), { version: '28.3' }).at(-1)?.variables.SOURCE,
    ).toBe('docker');
  });

  test('accepts any version of an engine that belongs to no package', () => {
    expect(summaryOf(factsWith(hostWithEngine, { packages: {} }), { version: '28.2' })).toHaveLength(1);
  });

  test('completes an interrupted installation from its own source', () => {
    const incomplete = factsWith(hostWithEngine, {
      packages: { 'docker.io': { state: 'half-configured', version: '20.10' } },
    });
    expect(shownPlanFor(incomplete, { source: 'docker' }).at(-1)).toMatchObject({
      id: 'install-engine',
      variables: { SOURCE: 'distro' },
    });
  });

  test('treats a removed package as no engine', () => {
    const gone = factsWith(bareHost, { packages: { 'docker.io': { state: 'config-files', version: '20.10' } } });
    expect(shownPlanFor(gone).at(-1)?.variables.SOURCE).toBe('docker');
  });

  test('quotes variables in the way systemd reads them', () => {
    const env = ['HTTP_PROXY=http://a b:1/?x=1', 'QUOTED=a"b\\c$d`e', 'EMPTY='];
    expect(plannedContent(hostWithEngine, '/etc/docker/slipway/engine.env', { env })).toMatchInlineSnapshot(`
      "HTTP_PROXY="http://a b:1/?x=1"
      QUOTED="a\\"b\\\\c\\$d\\\`e"
      EMPTY=""
      "
    `);
    expect(plannedContent(hostWithEngine, '/etc/systemd/system/docker.service.d/zz-slipway.conf', { env })).toContain(
      'EnvironmentFile=/etc/docker/slipway/engine.env',
    );
  });

  test('keeps the text of a daemon.json that already has all settings', () => {
    const wanted = plannedContent(hostWithEngine, '/etc/docker/daemon.json') ?? '';
    const formatted = JSON.stringify(JSON.parse(wanted));
    const paths = shownPlanFor(factsWith(hostWithEngine, { daemonJson: formatted })).flatMap(({ files }) =>
      files.map(({ path }) => path),
    );
    expect(paths).not.toContain('/etc/docker/daemon.json');
  });
});

describe('planProvision, for a host that was provisioned before', () => {
  test.each([
    ['bare', bareHost],
    ['with an engine', hostWithEngine],
    [
      'with a daemon.json',
      factsWith(hostWithEngine, { daemonJson: '{"log-opts":{"max-size":"1m"},"labels":["a=b"]}' }),
    ],
  ] as const)('plans nothing the second time: %s', (_kind, before) => {
    const more = { label: ['x=1'], env: ['A=b'], opt: ['log-opt=max-file=3'] };
    const now = factsAfter(before, planFor(before, more));
    expect(planFor(now, more)).toEqual([]);
  });

  const ready = factsAfter(hostWithEngine, planFor(hostWithEngine));

  test.each([
    ['mtu=1400', 'stop'],
    ['data-root=/srv/docker', 'stop'],
    ['live-restore=true', undefined],
    ['log-level=warn', undefined],
  ])('stops containers for the restart only where they depend on the change: %s', (option, containers) => {
    const [step] = planProvision(planInput(ready, { opt: [option] }));
    expect(step?.variables.ENGINE).toBe('restart');
    expect(step?.variables.CONTAINERS).toBe(containers);
  });

  test('plans only a restart where daemon.json still has the temporary setting', () => {
    const path = '/etc/docker/slipway/live-restore-lent';
    const files = { ...ready.files, [path]: { sha256: '', mode: '644', owner: 'root' } };
    const [step, ...more] = planProvision(planInput(factsWith(ready, { files })));
    expect([step?.files, step?.variables.ENGINE, more]).toEqual([[{ path, content: undefined }], 'restart', []]);
  });

  test('completes a restart that was interrupted', () => {
    expect(shownPlanFor(factsWith(ready, { restartPending: true }))).toMatchInlineSnapshot(`
      [
        {
          "files": [],
          "id": "configure-engine",
          "template": "configure.sh",
          "title": "Configure the engine and restart it",
          "variables": {
            "ENABLE": "no",
            "ENGINE": "restart",
            "MANIFEST": "",
          },
        },
      ]
    `);
  });

  test('starts an engine that is stopped, and enables one that would not start with the host', () => {
    expect(summaryOf(factsWith(ready, { engineService: { ...ready.engineService, isActive: false } })))
      .toMatchInlineSnapshot(`
      [
        "configure-engine: Start the engine (0 files)",
      ]
    `);
    expect(summaryOf(factsWith(ready, { engineService: { ...ready.engineService, isEnabled: false } }))).toHaveLength(
      1,
    );
  });

  test('writes a file again whose content, mode or owner was changed', () => {
    const path = '/etc/docker/slipway/server-key.pem';
    const { [path]: file, ...others } = ready.files;
    if (!file) throw new Error('the key is missing');
    for (const bad of [
      { ...file, sha256: 'x' },
      { ...file, mode: '644' },
      { ...file, owner: 'nobody' },
    ]) {
      expect(shownPlanFor(factsWith(ready, { files: { ...others, [path]: bad } }))[0]?.files).toEqual([
        { path, change: 'write' },
      ]);
    }
    expect(shownPlanFor(factsWith(ready, { files: others }))[0]?.files).toEqual([{ path, change: 'write' }]);
  });

  test('removes variables that are no longer wanted', () => {
    const now = factsAfter(hostWithEngine, planFor(hostWithEngine, { env: ['A=b'] }));
    expect(shownPlanFor(now)[0]?.files).toContainEqual({ path: '/etc/docker/slipway/engine.env', change: 'remove' });
  });
});

describe('planProvision, for a host that is not supported', () => {
  test("names the host's system and suggests an alternative", () => {
    const os = { ...bareHost.os, id: 'fedora', idLike: [], name: 'Fedora Linux 42' };
    expect(refusalOf(factsWith(bareHost, { os, packageManager: undefined }))).toMatchInlineSnapshot(
      `"OS_UNSUPPORTED: 192.0.2.10 runs Fedora Linux 42; Slipway supports Debian, Ubuntu and their derivatives → Use such a host, or connect to an engine that already runs there: slipway create NAME --driver none --none-url tcp://…"`,
    );
    expect(refusalOf(factsWith(bareHost, { serviceManager: undefined }))).toMatchInlineSnapshot(
      `"OS_UNSUPPORTED: 192.0.2.10 (Debian GNU/Linux 12 (bookworm)) does not run systemd, which Slipway needs to run the engine → Use a host whose first process is systemd"`,
    );
    expect(refusalOf(factsWith(bareHost, { packageManager: undefined }))).toMatch(/^OS_UNSUPPORTED/);
  });

  test('refuses to change a broken daemon.json', () => {
    expect(refusalOf(factsWith(hostWithEngine, { daemonJson: '{"debug": tru}' }))).toMatchInlineSnapshot(
      `"DAEMON_JSON: /etc/docker/daemon.json on 192.0.2.10 is broken at line 1, column 11: invalid symbol → Fix it on the host, then run the same command again. Slipway did not change it"`,
    );
  });
});

describe('planDeprovision', () => {
  const planDeprovisionAfterProvision = (before: Facts) =>
    planDeprovision(factsAfter(before, planFor(before)), '192.0.2.10');

  test("removes Slipway's files and restarts the engine", () => {
    expect(toPlannedSteps(planDeprovisionAfterProvision(hostWithEngine))).toMatchInlineSnapshot(`
      [
        {
          "files": [
            {
              "change": "remove",
              "path": "/etc/docker/daemon.json",
            },
            {
              "change": "remove",
              "path": "/etc/docker/slipway/ca.pem",
            },
            {
              "change": "remove",
              "path": "/etc/docker/slipway/server-cert.pem",
            },
            {
              "change": "remove",
              "path": "/etc/docker/slipway/server-key.pem",
            },
            {
              "change": "remove",
              "path": "/etc/docker/slipway/state.json",
            },
            {
              "change": "remove",
              "path": "/etc/systemd/system/docker.service.d/zz-slipway.conf",
            },
          ],
          "id": "deprovision",
          "template": "configure.sh",
          "title": "Remove Slipway's configuration",
          "variables": {
            "ENABLE": "no",
            "ENGINE": "restart",
            "MANIFEST": "- 0 /etc/docker/daemon.json
      - 1 /etc/docker/slipway/ca.pem
      - 2 /etc/docker/slipway/server-cert.pem
      - 3 /etc/docker/slipway/server-key.pem
      - 4 /etc/docker/slipway/state.json
      - 5 /etc/systemd/system/docker.service.d/zz-slipway.conf",
          },
        },
      ]
    `);
  });

  test('restores the daemon.json from before', () => {
    const before = factsWith(hostWithEngine, { daemonJson: '{"labels":["a=b"],"debug":true}' });
    const restoredFile = planDeprovisionAfterProvision(before)
      .flatMap(({ files }) => files)
      .find(({ path }) => path === '/etc/docker/daemon.json');
    expect(JSON.parse(restoredFile?.content ?? '')).toEqual({ labels: ['a=b'], debug: true });
  });

  test("plans nothing for a host without Slipway's files", () => {
    expect(planDeprovision(hostWithEngine, '192.0.2.10')).toEqual([]);
    expect(planDeprovision(factsWith(hostWithEngine, { daemonJson: '{"debug":true}' }), '192.0.2.10')).toEqual([]);
  });

  test('restarts an engine that an interrupted run has not restarted', () => {
    const steps = planDeprovision(factsWith(hostWithEngine, { restartPending: true }), '192.0.2.10');
    expect(steps).toMatchObject([{ id: 'deprovision', variables: { ENGINE: 'restart', MANIFEST: '' }, files: [] }]);
  });

  test('does not restart an engine that is stopped', () => {
    const now = factsAfter(hostWithEngine, planFor(hostWithEngine));
    const [step] = planDeprovision(
      factsWith(now, { engineService: { ...now.engineService, isActive: false } }),
      '192.0.2.10',
    );
    expect(step?.variables.ENGINE).toBe('none');
  });
});

test('a printed plan contains no file contents, since keys are among them', () => {
  expect(JSON.stringify(shownPlanFor(bareHost))).not.toContain('the key');
});

test("ownerOf reads the machine from the host's state, if the state can be read", () => {
  expect(ownerOf(factsWith(bareHost, { slipwayState: '{"id": "1", "name": "web"}' }))).toEqual({
    id: '1',
    name: 'web',
  });
  expect(ownerOf(factsWith(bareHost, { slipwayState: '{"id": ' }))).toBeUndefined();
  expect(ownerOf(factsWith(bareHost))).toBeUndefined();
});

describe('firstBootFilesFor', () => {
  /** Returns the facts of a host that has started with its first-boot files. */
  const factsAfterFirstBoot = (more: Partial<EngineSpec>): Facts => {
    const firstBootFiles = firstBootFilesFor({ ...planInput(bareHost, more), engine: engineSpec(more) });
    const step = { id: 'first-start', title: '', template: '', variables: {}, files: firstBootFiles };
    return factsAfter(hostWithEngine, [step]);
  };

  test.each<[string, Partial<EngineSpec>]>([
    ['no options', {}],
    ['proxies', { env: ['HTTP_PROXY=http://me:pass@proxy:3128', 'NO_PROXY=a,b'] }],
    [
      'options of dockerd',
      { label: ['a=b'], registryMirror: ['https://mirror'], storageDriver: 'overlay2', opt: ['debug'] },
    ],
    ['another port', { port: 12_376 }],
  ])('leaves planProvision nothing to do, with %s', (_what, more) => {
    expect(planFor(factsAfterFirstBoot(more), more)).toEqual([]);
  });

  test('leaves planProvision only what changed since the first boot', () => {
    expect(summaryOf(factsAfterFirstBoot({}), { label: ['a=b'] })).toEqual([
      'configure-engine: Configure the engine and restart it (2 files)',
    ]);
  });

  test("includes the machine's own name, and secrets that only root can read", () => {
    const firstBootFiles = firstBootFilesFor(planInput(bareHost, { env: ['HTTP_PROXY=http://me:pass@proxy:3128'] }));
    expect(firstBootFiles.map(({ mode, path }) => `${mode} ${path}`)).toEqual([
      '644 /etc/docker/slipway/ca.pem',
      '644 /etc/docker/slipway/server-cert.pem',
      '600 /etc/docker/slipway/server-key.pem',
      '600 /etc/docker/slipway/engine.env',
      '600 /etc/docker/slipway/state.json',
      '644 /etc/systemd/system/docker.service.d/zz-slipway.conf',
      '644 /etc/docker/daemon.json',
    ]);
    expect(ownerOf(factsAfterFirstBoot({}))).toEqual({ id: 'id-of-web', name: 'web' });
  });
});

test('the engine listens on IPv6 addresses too, if the host is given by a name that has no others', () => {
  const hosts = (more: object): unknown => {
    const [step] = planProvision({ ...planInput(factsWith(hostWithEngine, { daemonJson: '{}' })), ...more });
    const file = step?.files?.find(({ path }) => path === '/etc/docker/daemon.json');
    return (JSON.parse(file?.content ?? '{}') as { hosts?: unknown }).hosts;
  };
  expect(hosts({ address: 'web.example' })).toContain('tcp://0.0.0.0:2376');
  expect(hosts({ address: 'web.example', ipv6Address: '2001:db8::1' })).toContain('tcp://[::]:2376');
});

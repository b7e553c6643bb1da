import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { findDockerSources, fingerprintsOf, parseAptSources } from '../../src/provision/distros/apt-sources.ts';
import { primaryFingerprintsOf } from '../../src/provision/distros/openpgp-key.ts';
import { isVersionNamed, versionPattern } from '../../src/provision/distros/version-pattern.ts';
import type { Facts } from '../../src/provision/facts.ts';
import { planProvision } from '../../src/provision/plan.ts';
import { catchError } from '../fakes/catch-error.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { bareHost, factsWith, planInput } from './host-facts.ts';

/** An ed25519 key for signing with its user id and signature, made with `gpg --quick-generate-key`. */
const ARMORED = `-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawzldxYJKwYBBAHaRw8BAQdA621QzHqLSnqSAZXC0vZCvgoxYi0MP5tVIH9M
GaSpzqS0I1JlcG9zaXRvcnkgPHJlcG9zaXRvcnlAZXhhbXBsZS5vcmc+iJAEExYI
ADgWIQQr1wJt5Fqd3vVGUJNBn0RQDyjIlgUCawzldwIbAwULCQgHAgYVCgkICwIE
FgIDAQIeAQIXgAAKCRBBn0RQDyjIlkATAP94JWHV8/7mMPoWVDuSuNaJ6zRRCUeM
u+0psHGUarm8AwEA4EZlPkfUqHVoHzwzzBHvCn1fXfoJoHAdtYeD3jLEwwY=
=v9fd
-----END PGP PUBLIC KEY BLOCK-----
`;
const FINGERPRINT = '2BD7026DE45A9DDEF5465093419F44500F28C896';
const binaryKey = Buffer.from(/\n\n([\s\S]*?)\n=/.exec(ARMORED)?.[1] ?? '', 'base64');

const LISTING = '/etc/apt/sources.list.d/docker.list';
const KEY_FILE = '/etc/apt/keyrings/docker.asc';
const line = `deb [arch=amd64 signed-by=${KEY_FILE}] https://download.docker.com/linux/debian bookworm stable`;
const withSources = (packageSources: Facts['packageSources'], packageKeys: Facts['packageKeys'] = {}): Facts =>
  factsWith(bareHost, { packageSources, packageKeys });
const armoredFact = Buffer.from(ARMORED).toString('base64');

describe('versions', () => {
  const debianVersion = '5:28.2.2-1~debian.12~bookworm';
  test.each([
    ['20.10', '20.10.24+dfsg1-1+deb12u1', true],
    ['20.10.2', '20.10.24+dfsg1-1+deb12u1', false],
    ['20.10.2', '20.10.2+dfsg1-1', true],
    ['20.10.2', '20.10.2', true],
    ['2', debianVersion, false],
    ['28', debianVersion, true],
    ['5:28', debianVersion, true],
    ['4:28', debianVersion, false],
    ['28.2', '5:28.20.0-1~debian.12~bookworm', false],
    ['28.2.2', debianVersion, true],
    ['28.2.2', '5:28.2.2~rc.1-1~debian.12~bookworm', false],
    ['28.2.2~rc', '5:28.2.2~rc.1-1~debian.12~bookworm', true],
    ['18.06.1', '18.06.1~ce~3-0~debian', true],
    ['5:28.2.2-1', debianVersion, true],
    [debianVersion, debianVersion, true],
    ['28.2.2-1~debian.1', debianVersion, false],
    ['28.2.2-1~debian.12~book', debianVersion, false],
    ['28.', debianVersion, true],
    ['28x2', debianVersion, false],
  ])('%s names %s: %s, in the plan and for the awk of the hosts', (wanted, version, isNamed) => {
    expect(isVersionNamed(version, wanted)).toBe(isNamed);
    if (!isPosix) return;
    const printed = execFileSync(
      'awk',
      ['-v', `pattern=${versionPattern(wanted)}`, '$3 ~ pattern { print $3; exit }'],
      { input: `docker-ce | ${version} | https://example\n`, encoding: 'utf8' },
    );
    expect(printed.trim() === version).toBe(isNamed);
  });
});

describe('the lists of package repositories', () => {
  test('are read in both formats', () => {
    const facts = withSources({
      [LISTING]: `# deb https://download.docker.com/linux/debian bookworm stable\n${line} test # as of today\ndeb-src https://x y z\n`,
      '/etc/apt/sources.list.d/docker.sources':
        '# a comment\nTypes: deb deb-src\nURIs: https://download.docker.com/linux/ubuntu\nSuites: noble\n#Suites: x\nComponents: stable\n nightly\nEnabled: no\nSigned-By: /a.gpg, /b.gpg\n\nTypes: deb-src\nURIs: https://x\nSuites: y\n',
    });
    expect(parseAptSources(facts)).toEqual([
      {
        path: LISTING,
        isEnabled: true,
        uris: ['https://download.docker.com/linux/debian'],
        suites: ['bookworm'],
        components: ['stable', 'test'],
        signedBy: [KEY_FILE],
      },
      {
        path: '/etc/apt/sources.list.d/docker.sources',
        isEnabled: false,
        uris: ['https://download.docker.com/linux/ubuntu'],
        suites: ['noble'],
        components: ['stable', 'nightly'],
        signedBy: ['/a.gpg', '/b.gpg'],
      },
    ]);
  });

  test.each([
    ["Docker's page", LISTING, line, true],
    [
      'an old page',
      '/etc/apt/sources.list',
      'deb [arch=amd64] https://download.docker.com/linux/debian stretch edge',
      true,
    ],
    [
      'a mirror',
      '/etc/apt/sources.list.d/a.list',
      'deb https://mirrors.example/docker-ce/linux/debian bookworm stable',
      true,
    ],
    ['a file that is named so', LISTING, 'deb file:///srv/repo bookworm stable', true],
    [
      'NVIDIA',
      '/etc/apt/sources.list.d/nvidia-docker.list',
      'deb https://nvidia.github.io/nvidia-docker/debian12/amd64 /',
      false,
    ],
    ['Debian', '/etc/apt/sources.list', 'deb https://deb.debian.org/debian bookworm main', false],
    [
      'Kubernetes',
      '/etc/apt/sources.list.d/kubernetes.list',
      'deb https://pkgs.k8s.io/core:/stable:/v1.31/deb/ /',
      false,
    ],
  ])("tell which one is Docker's: %s", (_name, path, text, isDockers) => {
    expect(findDockerSources(parseAptSources(withSources({ [path]: text })), undefined)).toHaveLength(
      isDockers ? 1 : 0,
    );
  });

  test('find a mirror by the address that the user gave, whatever its scheme and login', () => {
    const sources = parseAptSources(
      withSources({ '/etc/apt/sources.list.d/x.list': 'deb http://art.example/deb/debian bookworm main' }),
    );
    expect(findDockerSources(sources, 'https://me:secret@art.example/deb/')).toHaveLength(1);
    expect(findDockerSources(sources, 'https://art.example/de')).toHaveLength(0);
  });
});

describe('keys', () => {
  test('have the fingerprint that gpg shows, armored and binary', () => {
    expect(primaryFingerprintsOf(Buffer.from(ARMORED))).toEqual([FINGERPRINT]);
    expect(primaryFingerprintsOf(Buffer.from(ARMORED + ARMORED))).toEqual([FINGERPRINT, FINGERPRINT]);
    expect(primaryFingerprintsOf(binaryKey)).toEqual([FINGERPRINT]);
  });

  test.each([
    ['an empty file', Buffer.alloc(0)],
    ['a text', Buffer.from('404 not found')],
    ['a truncated key', binaryKey.subarray(0, 40)],
    ['a key with something after it', Buffer.concat([binaryKey, Buffer.from([0])])],
  ])('are not read from %s', (_name, file) => {
    expect(primaryFingerprintsOf(file)).toEqual([]);
  });

  test.each([
    ['a file', line, { [KEY_FILE]: armoredFact }, [FINGERPRINT]],
    ['a file that is missing', line, {}, []],
    ['a fingerprint', line.replace(KEY_FILE, `${FINGERPRINT}!`), {}, [FINGERPRINT]],
    [
      'the keys for all',
      line.replace(/ ?signed-by=\S+?(?=\])/, ''),
      { '/etc/apt/trusted.gpg.d/docker.asc': armoredFact },
      [FINGERPRINT],
    ],
  ] as const)('of a source come from %s', (_name, text, keys, expected) => {
    const facts = withSources({ [LISTING]: text }, keys);
    const [source] = parseAptSources(facts);
    expect(source && fingerprintsOf(source, facts)).toEqual(expected);
  });

  test('can stand in the list itself', () => {
    const indented = ARMORED.trim()
      .split('\n')
      .map((text) => ` ${text === '' ? '.' : text}`)
      .join('\n');
    const text = `Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: bookworm\nComponents: stable\nSigned-By:\n${indented}\n`;
    const facts = withSources({ '/etc/apt/sources.list.d/docker.sources': text });
    const [source] = parseAptSources(facts);
    expect(source && fingerprintsOf(source, facts)).toEqual([FINGERPRINT]);
  });
});

describe("a host that has Docker's repository", () => {
  const refusalOf = (facts: Facts, more = {}): string => {
    const error = catchError(() => planProvision(planInput(facts, more)));
    return `${error?.code}: ${error?.message} → ${error?.hint}`;
  };
  const facts = withSources({ [LISTING]: line }, { [KEY_FILE]: armoredFact });

  test('gets no second one', () => {
    const plan = planProvision(planInput(facts, { repositoryKey: FINGERPRINT.toLowerCase() }));
    expect(plan.at(-1)?.variables.LISTING).toBe(LISTING);
    expect(planProvision(planInput(bareHost)).at(-1)?.variables.LISTING).toBe('');
  });

  test('is refused if another key verifies it, or if the administrator has disabled it', () => {
    expect(refusalOf(facts)).toBe(
      `PACKAGE_CONFLICT: 192.0.2.10: Docker's repository in ${LISTING} is verified with the key ${FINGERPRINT}, not with 9DC858229FC7DD38854AE2D88D81803C0EBFCD88 → If you trust that key: --engine-repository-key ${FINGERPRINT}. For the distribution's own package: --engine-source distro`,
    );
    const path = '/etc/apt/sources.list.d/docker.sources';
    const text =
      'Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: bookworm\nComponents: stable\nEnabled: no\n';
    expect(refusalOf(withSources({ [path]: text }))).toBe(
      `PACKAGE_CONFLICT: 192.0.2.10: Docker's repository in ${path} is disabled → To use it, remove "Enabled: no" from that file. For the distribution's own package: --engine-source distro`,
    );
    expect(planProvision(planInput(facts, { source: 'distro' }))).toHaveLength(3);
  });

  test("loses Slipway's own entry, beside which apt would read no list", () => {
    const own = '/etc/apt/sources.list.d/slipway-docker.sources';
    const file = { sha256: '', mode: '644', owner: 'root' };
    const both = factsWith(facts, { files: { [own]: file } });
    const plan = planProvision(planInput(both, { repositoryKey: FINGERPRINT }));
    expect(plan[0]).toMatchObject({
      id: 'package-sources',
      files: [{ path: own, content: undefined }],
      variables: { ENGINE: 'none' },
    });
  });
});

describe('another engine', () => {
  const hostWith = (other: Partial<Facts['otherEngines'][number]>): Facts =>
    factsWith(bareHost, {
      otherEngines: [
        { role: 'socket', pid: 812, user: 'root', unit: undefined, program: '/usr/bin/dockerd', ...other },
      ],
    });
  const sentenceOf = (facts: Facts): string => {
    const error = catchError(() => planProvision(planInput(facts)));
    return `${error?.code}: ${error?.message} → ${error?.hint?.replace(/\. To use it as it is.*/, '')}`;
  };

  test('that was copied to the host is not doubled by a package', () => {
    expect(sentenceOf(factsWith(bareHost, { dockerd: '/usr/local/bin/dockerd' }))).toMatch(
      /^ENGINE_CONFLICT: \/usr\/local\/bin\/dockerd on 192\.0\.2\.10 belongs to no package of docker\.io or docker-ce, and has no service → To use it, give it a service named docker/,
    );
  });

  test.each([
    [
      { unit: 'snap.docker.dockerd.service', program: '/snap/docker/current/usr/sbin/dockerd' },
      '/snap/docker/current/usr/sbin/dockerd (PID 812, snap.docker.dockerd.service) serves /run/docker.sock on 192.0.2.10',
      'sudo snap remove docker',
    ],
    [
      { role: 'snap', pid: undefined, unit: 'snap.docker.dockerd.service' },
      '192.0.2.10 has an engine from the snap "docker"',
      'sudo snap remove docker',
    ],
    [
      { pid: 1, unit: 'podman.socket', program: 'podman.socket' },
      'podman.socket serves /run/docker.sock on 192.0.2.10',
      'sudo systemctl disable --now podman.socket',
    ],
    [
      { role: 'engine', unit: 'dockerd.service' },
      '/usr/bin/dockerd (PID 812, dockerd.service) runs on 192.0.2.10',
      'sudo systemctl disable --now dockerd.service',
    ],
    [
      { role: 'engine', unit: 'user:docker.service', user: 'ann' },
      'A rootless engine of ann runs on 192.0.2.10: /usr/bin/dockerd (PID 812, user:docker.service)',
      'systemctl --user disable --now docker.service (as ann)',
    ],
    [
      { role: 'engine', unit: 'session-3.scope' },
      '/usr/bin/dockerd (PID 812, session-3.scope) runs on 192.0.2.10',
      'sudo kill 812',
    ],
  ])('is named, and no second one is installed: %o', (other, sentence, command) => {
    expect(sentenceOf(hostWith(other))).toBe(
      `ENGINE_CONFLICT: ${sentence}, and Slipway installs no second engine → To install Docker Engine in its place, end it on the host first: ${command}`,
    );
  });
});

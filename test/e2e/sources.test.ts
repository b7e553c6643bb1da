import { expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok, type User } from './slipway.ts';
import { engineStarts, expectAnswer, recordOf, trouble } from './trouble.ts';

const OLD = '5:26.1.4-1~debian.12~bookworm';
const NEW = '5:27.3.1-1~debian.12~bookworm';

/**
 * A repository laid out and signed as Docker's is, in the host itself. Its docker-ce is Debian's docker.io under that name;
 * the packages around it are empty. Prints the fingerprint of its key.
 */
const REPOSITORY = `
  set -eu
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -qq --yes --no-install-recommends gpg gpg-agent >/dev/null 2>&1
  mkdir -p /srv/repo/debian/pool /root/build && cd /root/build && chmod 777 .
  apt-get download -qq docker.io >/dev/null 2>&1
  dpkg-deb -R docker.io_*.deb engine
  sed -i -e '/^ /d' -e '/^Conflicts:/d' -e '/^Breaks:/d' -e '/^Replaces:/d' -e 's/^Package:.*/Package: docker-ce/' -e '/^Depends:/s/containerd ([^)]*)/containerd.io/' engine/DEBIAN/control
  pack() { dpkg-deb -Znone --root-owner-group -b "$1" /srv/repo/debian/pool/ >/dev/null; }
  thin() {
    rm -rf thin && mkdir -p thin/DEBIAN
    printf 'Package: %s\\nVersion: %s\\nArchitecture: %s\\nMaintainer: nobody\\nDescription: thin\\n%s' \\
      "$1" "$2" "$(dpkg --print-architecture)" "\${3-}" >thin/DEBIAN/control
    pack thin
  }
  for version in ${OLD} ${NEW}; do
    sed -i "s/^Version:.*/Version: $version/" engine/DEBIAN/control
    pack engine
    thin docker-ce-cli $version
  done
  thin containerd.io 1.7.22-1 'Depends: containerd
'
  thin docker-buildx-plugin 0.17.1-1
  thin docker-compose-plugin 2.29.7-1
  cd /srv/repo/debian
  index=dists/bookworm/stable/binary-$(dpkg --print-architecture)
  mkdir -p $index
  for package in pool/*.deb; do
    dpkg-deb -f $package
    printf 'Filename: %s\\nSize: %s\\nSHA256: %s\\n\\n' $package $(stat -c %s $package) $(sha256sum <$package | cut -d' ' -f1)
  done >$index/Packages
  gpg --batch --quiet --passphrase '' --quick-generate-key 'Repository <repository@example.org>' ed25519 sign never 2>/dev/null
  gpg --armor --export >gpg
  cd dists/bookworm
  {
    printf 'Suite: bookworm\\nCodename: bookworm\\nComponents: stable\\nDate: %s\\nSHA256:\\n' "$(LC_ALL=C date -Ru)"
    for file in stable/*/Packages; do
      printf ' %s %s %s\\n' $(sha256sum <$file | cut -d' ' -f1) $(stat -c %s $file) $file
    done
  } | gpg --batch --clearsign >InRelease 2>/dev/null
  gpg --with-colons --list-keys | awk -F: '$1 == "fpr" { print $10; exit }'
  apt-get purge -qq --yes gpg gpg-agent >/dev/null 2>&1
  rm -rf /root/build
`;

async function versionOf(host: BedHost, name: string): Promise<string> {
  return (await host.exec(`dpkg-query -W -f '\${db:Status-Status} \${Version}' ${name}`)).stdout;
}

/** Nothing to do for a plan, and nothing done by a run: the engine's process stays the same. */
async function expectSettled(user: User, host: BedHost): Promise<void> {
  const plan = await ok(user.slipway('provision', 'web', '--dry-run', '--json'));
  expect(JSON.parse(plan.stdout)).toEqual({ name: 'web', steps: [] });
  const before = await host.must('pgrep -x dockerd');
  await ok(user.slipway('provision', 'web'));
  expect(await host.must('pgrep -x dockerd')).toBe(before);
}

describeOnBed('where an engine comes from', () => {
  test('Docker’s repository is trusted by its key alone, and a version may be named by its beginning', async () => {
    await using host = await startHost({ suite: 'bookworm' });
    await using user = await newUser();
    const fingerprint = await host.must(REPOSITORY);
    expect(fingerprint).toMatch(/^[0-9A-F]{40}$/);

    const flags = ['--engine-source', 'docker', '--engine-repository-url', 'file:///srv/repo'];
    const strange = await trouble(user.slipway('create', 'web', ...at(host), ...flags));
    expect(strange.status).toBe(7);
    expect(strange.sentence).toContain(`the key of file:///srv/repo is ${fingerprint}`);
    expect(strange.sentence).toContain('nothing was installed');
    expect(await versionOf(host, 'docker-ce')).toBe('');
    expect((await host.exec('ls /etc/apt/sources.list.d /etc/apt/keyrings | grep slipway')).stdout).toBe('');

    const key = ['--engine-repository-key', fingerprint];
    const absent = await trouble(user.slipway('create', 'web', ...key, '--engine-version', '99'));
    expect(absent.status).toBe(7);
    expect(absent.sentence).toContain(`there is no version 99 of docker-ce here; there are: ${NEW}, ${OLD}`);
    expect(await recordOf(user, 'web')).toMatchObject({ phase: 'created', failure: { step: 'install-engine' } });

    await ok(user.slipway('create', 'web', '--engine-version', '26.1'));
    await expectAnswer(user, 'web');
    expect(await versionOf(host, 'docker-ce')).toBe(`installed ${OLD}`);
    expect(await versionOf(host, 'docker-ce-cli')).toBe(`installed ${OLD}`);
    expect(await engineStarts(host)).toBe(1);
    await expectSettled(user, host);

    await ok(user.slipway('provision', 'web', '--engine-version', '5:27'));
    await expectAnswer(user, 'web');
    expect(await versionOf(host, 'docker-ce')).toBe(`installed ${NEW}`);
    await expectSettled(user, host);
  });

  test('a repository that can not be reached points to the distribution’s own package', async () => {
    await using host = await startHost({ suite: 'trixie' });
    await using user = await newUser();
    const flags = ['--engine-source', 'docker', '--engine-repository-url', 'http://127.0.0.1:9'];
    const away = await trouble(user.slipway('create', 'web', ...at(host), ...flags));
    expect(away.status).toBe(7);
    expect(away.sentence).toContain("can't be reached from the host; --engine-source distro");

    const absent = await trouble(user.slipway('create', 'web', '--engine-source', 'distro', '--engine-version', '1.2'));
    expect(absent.status).toBe(7);
    expect(absent.sentence).toMatch(/there is no version 1\.2 of docker\.io here; there are: \d/);

    await ok(user.slipway('create', 'web', '--engine-version', '26'));
    await expectAnswer(user, 'web');
    expect(await versionOf(host, 'docker.io')).toMatch(/^installed 26\./);
    expect(await engineStarts(host)).toBe(1);
    await expectSettled(user, host);
  });

  test('an install script may bring it', async () => {
    await using host = await startHost({ suite: 'bookworm' });
    await using user = await newUser();
    const url = 'file:///srv/install.sh';
    const missing = await trouble(user.slipway('create', 'web', ...at(host), '--engine-source', 'url'));
    expect(missing).toMatchObject({ status: 2, hint: 'Add --engine-install-url <url>' });

    const absent = await trouble(user.slipway('create', 'web', '--engine-install-url', url));
    expect(absent.status).toBe(7);
    expect(absent.sentence).toContain(`${url} can't be fetched from the host`);

    await host.must(`echo 'echo "no engine for $VERSION" >&2; exit 3' >/srv/install.sh`);
    const failing = await trouble(user.slipway('create', 'web'));
    expect(failing.sentence).toContain(`the install script of ${url} failed`);

    await host.must(`echo true >/srv/install.sh`);
    const empty = await trouble(user.slipway('create', 'web'));
    expect(empty.sentence).toContain('there is no dockerd');

    await host.must(`echo 'apt-get install -qq --yes --no-install-recommends docker.io' >/srv/install.sh`);
    await ok(user.slipway('create', 'web'));
    await expectAnswer(user, 'web');
    expect(await engineStarts(host)).toBe(1);
    await expectSettled(user, host);
  });
});

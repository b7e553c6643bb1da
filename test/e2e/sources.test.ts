import { expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok } from './slipway.ts';

/**
 * Docker's repository in small, on the host itself: docker-ce in two versions (Debian's engine under that name) and its
 * companions, signed by a key made here. Prints the key's fingerprint.
 */
const MAKE_REPOSITORY = `
set -e
cd /root
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends apt-utils gpg gpg-agent >/dev/null
apt-get download -q docker.io >/dev/null 2>&1
dpkg-deb -R docker.io_*.deb engine
mkdir -p /srv/repo/debian/pool
sed -i 's/^Package: .*/Package: docker-ce/; /^Recommends:/d; /^Suggests:/d; /^Breaks:/d; /^Conflicts:/d; /^Provides:/d; /^Replaces:/d; /^Source:/d; /^Built-Using:/d; /^Static-Built-Using:/d' engine/DEBIAN/control
for version in 5:27.3.1-1~debian.12~bookworm 5:28.1.0-1~debian.12~bookworm; do
  sed -i "s/^Version: .*/Version: $version/" engine/DEBIAN/control
  dpkg-deb -Znone -b engine /srv/repo/debian/pool/ >/dev/null
  for name in docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin; do
    mkdir -p "$name/DEBIAN"
    printf 'Package: %s\\nVersion: %s\\nArchitecture: all\\nMaintainer: none <none@invalid>\\nDescription: stand-in\\n' "$name" "$version" >"$name/DEBIAN/control"
    dpkg-deb -Znone -b "$name" /srv/repo/debian/pool/ >/dev/null
  done
done
cd /srv/repo/debian
mkdir -p dists/bookworm/stable/binary-$(dpkg --print-architecture)
apt-ftparchive packages pool >dists/bookworm/stable/binary-$(dpkg --print-architecture)/Packages
apt-ftparchive -o APT::FTPArchive::Release::Suite=bookworm -o APT::FTPArchive::Release::Codename=bookworm -o APT::FTPArchive::Release::Components=stable -o APT::FTPArchive::Release::Architectures=$(dpkg --print-architecture) release dists/bookworm >/tmp/Release
mv /tmp/Release dists/bookworm/Release
export GNUPGHOME=/root/gnupg
mkdir -m 700 -p $GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key 'Test <test@invalid>' ed25519 sign never
gpg --batch --quiet --clearsign -o dists/bookworm/InRelease dists/bookworm/Release
gpg --batch --quiet --armor --export >gpg
gpg --batch --with-colons --list-keys | awk -F: '$1 == "fpr" { print $10; exit }'
`;

async function bareAgain(host: BedHost): Promise<void> {
  await host.must(
    'apt-get purge -q -y docker-ce >/dev/null 2>&1; rm -rf /etc/docker /etc/systemd/system/docker.service.d; systemctl daemon-reload',
  );
}

describeOnBed('where an engine comes from', () => {
  test('Docker’s repository is trusted by the fingerprint of its key alone, and its version can be pinned', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm' });
    const fingerprint = await host.must(MAKE_REPOSITORY);
    const repository = ['--engine-repository-url', 'file:///srv/repo'];

    const untrusted = await user.slipway('create', 'web', ...at(host), ...repository);
    expect(untrusted.code).toBe(7);
    expect(untrusted.stderr).toContain(
      `is ${fingerprint} , not 9DC858229FC7DD38854AE2D88D81803C0EBFCD88: nothing was installed`,
    );
    expect((await host.exec('command -v dockerd')).code).not.toBe(0);
    expect((await host.exec('test -e /etc/apt/sources.list.d/slipway-docker.sources')).code).not.toBe(0);

    const key = ['--engine-repository-key', fingerprint.toLowerCase()];
    const unknown = await user.slipway('create', 'web', ...key, '--engine-version', '29');
    expect(unknown.code).toBe(7);
    expect(unknown.stderr).toContain(
      'there is no version 29 of docker-ce here; there are: 5:28.1.0-1~debian.12~bookworm, 5:27.3.1-1~debian.12~bookworm',
    );

    await ok(user.slipway('create', 'web', '--engine-version', '27.3'));
    expect(await host.must("dpkg-query -W -f '${Version}' docker-ce")).toBe('5:27.3.1-1~debian.12~bookworm');
    await ok(user.docker('--context', 'web', 'version'));
    expect(await host.must('journalctl -u docker --no-pager -o cat | grep -c "^Started docker.service"')).toBe('1');
    expect((await ok(user.slipway('provision', 'web', '--dry-run'))).stdout).toBe('web: nothing to do\n');

    await ok(user.slipway('provision', 'web', '--engine-version', '28'));
    expect(await host.must("dpkg-query -W -f '${Version}' docker-ce")).toBe('5:28.1.0-1~debian.12~bookworm');
    await ok(user.docker('--context', 'web', 'version'));
    expect((await ok(user.slipway('provision', 'web', '--dry-run'))).stdout).toBe('web: nothing to do\n');
    await ok(user.slipway('rm', 'web', '--deprovision'));

    // A second key in the file would be trusted with the first.
    await bareAgain(host);
    await host.must(
      "set -e; export GNUPGHOME=/root/gnupg; gpg --batch --quiet --passphrase '' --quick-generate-key 'Other <other@invalid>' ed25519 sign never; gpg --batch --quiet --armor --export >/srv/repo/debian/gpg",
    );
    const two = await user.slipway('create', 'two', ...at(host), ...repository, ...key);
    expect(two.code).toBe(7);
    expect(two.stderr).toContain('nothing was installed');
  });

  test('an install script is fetched and run, and what it brings is not touched again', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie' });
    await host.must(
      'printf \'set -e\\necho "version=$VERSION" >/root/seen\\nDEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends docker.io\\n\' >/root/install.sh',
    );
    const gone = await user.slipway('create', 'web', ...at(host), '--engine-install-url', 'file:///root/nothing.sh');
    expect(gone.code).toBe(7);
    expect(gone.stderr).toContain("file:///root/nothing.sh can't be fetched from the host");
    await ok(user.slipway('create', 'web', '--engine-install-url', 'file:///root/install.sh'));
    await ok(user.docker('--context', 'web', 'version'));
    expect(await host.must('cat /root/seen')).toBe('version=');
    expect(await host.must('journalctl -u docker --no-pager -o cat | grep -c "^Started docker.service"')).toBe('1');
    expect((await ok(user.slipway('provision', 'web', '--dry-run'))).stdout).toBe('web: nothing to do\n');
  });
});

export const OLD_VERSION = '5:26.1.4-1~debian.12~bookworm';
export const NEW_VERSION = '5:27.3.1-1~debian.12~bookworm';

/**
 * Creates a package repository on the host, with the layout and signature of Docker's. Its docker-ce is Debian's
 * docker.io under that name; all other packages are empty. Prints the fingerprint of its key.
 */
export const CREATE_REPOSITORY_SCRIPT = `
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
  for version in ${OLD_VERSION} ${NEW_VERSION}; do
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

/**
 * Returns a script that adds a signed and trusted package repository on the host, in which Debian's docker.io has this
 * version and another text in its settings file. Otherwise its packages are those of the host's release.
 */
export const newerDistroEngineScript = (version: string): string => `
  set -eu
  export DEBIAN_FRONTEND=noninteractive
  command -v gpg >/dev/null || apt-get install -qq --yes --no-install-recommends gpg gpg-agent >/dev/null 2>&1
  mkdir -p /srv/newer /root/build && cd /root/build && chmod 777 .
  [ -d engine ] || { apt-get download -qq docker.io >/dev/null 2>&1 && dpkg-deb -R docker.io_*.deb engine; }
  sed -i 's/^Version:.*/Version: ${version}/' engine/DEBIAN/control
  echo '# of ${version}' >>engine/etc/default/docker
  rm -f /srv/newer/*.deb
  dpkg-deb -Znone --root-owner-group -b engine /srv/newer/ >/dev/null
  cd /srv/newer
  for package in *.deb; do
    dpkg-deb -f $package
    printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' $package $(stat -c %s $package) $(sha256sum <$package | cut -d' ' -f1)
  done >Packages
  [ -e /etc/apt/keyrings/newer.asc ] || {
    gpg --batch --quiet --passphrase '' --quick-generate-key 'Newer <newer@example.org>' ed25519 sign never 2>/dev/null
    mkdir -p /etc/apt/keyrings
    gpg --armor --export >/etc/apt/keyrings/newer.asc
  }
  printf 'Suite: ./\\nDate: %s\\nSHA256:\\n %s %s Packages\\n' "$(LC_ALL=C date -Ru)" $(sha256sum <Packages | cut -d' ' -f1) $(stat -c %s Packages) |
    gpg --batch --yes --clearsign >InRelease 2>/dev/null
  printf 'Types: deb\\nURIs: file:///srv/newer\\nSuites: ./\\nSigned-By: /etc/apt/keyrings/newer.asc\\n' >/etc/apt/sources.list.d/newer.sources
`;

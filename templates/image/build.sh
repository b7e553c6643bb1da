#!/usr/bin/env bash
# Builds a local image from the distribution's signed packages: disk (raw), kernel and initial RAM disk in OUT.
# SUITE: trixie, bookworm. ARCH: amd64, arm64. MIRROR: where to fetch from; empty for this machine's own apt sources, or
# Debian's where it has none of Debian. Progress goes to stdout, one line at a time. Needs no root: without it, ownership is
# kept by fakeroot.
# shellcheck disable=SC2016 # what mmdebstrap runs expands there, not here
set -euo pipefail
: "${SUITE:?}" "${ARCH:?}" "${OUT:?}"
files=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=templates/image/apt-sources.sh
. "$files/apt-sources.sh"

packages=(
  systemd-sysv udev dbus openssh-server ca-certificates iproute2 sudo netbase iptables nftables curl procps kmod
  apparmor busybox-static less systemd-timesyncd rsync
  docker.io "linux-image-cloud-$ARCH"
)
# Debian 12 has no package of the newer clients.
[[ $SUITE == bookworm ]] || packages+=(docker-cli docker-compose docker-buildx)

die() {
  printf '!! %s\n' "$*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# mmdebstrap without root reads these as another user.
chmod 755 "$work"

sources() {
  local own=''
  # shellcheck source=/dev/null
  [[ -n ${MIRROR-} ]] || own=$(. /etc/os-release && [[ $ID == debian ]] && echo "${VERSION_CODENAME-}") || true
  if [[ -n $own ]]; then suite_sources "$own" "$SUITE"; fi
}
sources >"$work/debian.sources"
if [[ ! -s $work/debian.sources ]]; then
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -e $keyring ]] || die "Debian's archive key is not on this computer; install the package debian-archive-keyring"
  mirror=${MIRROR:-https://deb.debian.org/debian}
  printf 'Types: deb\nURIs: %s\nSuites: %s %s-updates\nComponents: main\nSigned-By: %s\n' \
    "$mirror" "$SUITE" "$SUITE" "$keyring" >"$work/debian.sources"
  [[ -n ${MIRROR-} ]] || printf '\nTypes: deb\nURIs: https://deb.debian.org/debian-security\nSuites: %s-security\nComponents: main\nSigned-By: %s\n' \
    "$SUITE" "$keyring" >>"$work/debian.sources"
fi
acquire_settings >"$work/apt.conf"
# A proxy's password may be among them. Without root they are read by another user of this computer's own.
[[ $(id -u) != 0 ]] || chmod 600 "$work/apt.conf" "$work/debian.sources"

echo 'Fetch and unpack the packages'
mkdir "$work/files"
cp "$files"/*.sh "$files"/*.service "$files"/*.conf "$work/files"
IFS=,
# update-initramfs would make an initial RAM disk that nobody boots; the file beside it is kept by --force-confold.
mmdebstrap --variant=minbase --architectures="$ARCH" --include="${packages[*]}" --format=tar \
  --aptopt="$work/apt.conf" --aptopt='Acquire::Languages "none"' \
  --dpkgopt=force-unsafe-io --dpkgopt=force-confold \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"' \
  --customize-hook='mkdir "$1/slipway" && echo "Prepare the root"' \
  --customize-hook="copy-in $work/files /slipway" \
  --customize-hook='chroot "$1" env FILES=/slipway/files OUT=/slipway sh /slipway/files/prepare.sh' \
  --customize-hook='rm -r "$1/slipway/files"' \
  --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"' \
  "$SUITE" "$work/root.tar" "$work/debian.sources" 2>&1
unset IFS

echo 'Make the disk'
tree=$work/tree
mkdir "$tree"
as_owner=()
[[ $(id -u) == 0 ]] || as_owner=(fakeroot)
# One call: fakeroot forgets who owns what when it ends.
"${as_owner[@]}" bash -euc '
  tree=$1 tar=$2 out=$3
  tar -xf "$tar" -C "$tree" --xattrs --xattrs-include="*" --exclude "./dev/*"
  mv "$tree"/slipway/{vmlinuz,initrd,engine} "$out/"
  rmdir "$tree/slipway"
  size=$(du -s --apparent-size -B 1M "$tree" | cut -f1)
  mke2fs -q -t ext4 -L slipway -m 1 -d "$tree" "$out/disk.raw" "$((size * 5 / 4 + 256))M"
' bash "$tree" "$work/root.tar" "$OUT"

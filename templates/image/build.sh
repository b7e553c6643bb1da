#!/usr/bin/env bash
# Builds a local image from the distribution's signed packages: disk (raw), kernel and initial RAM disk in OUT. SUITE:
# trixie or bookworm. ARCH: amd64 or arm64. MIRROR: the mirror to download from; empty for this computer's apt sources,
# or Debian's where this computer has none of Debian. MIRROR_LOGIN: a line for apt's auth.conf.d. Writes its progress to
# stdout, one line per step. Needs no root: without it, fakeroot keeps track of file owners.
# shellcheck disable=SC2016 # mmdebstrap's hooks expand their variables themselves
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
# Debian 12 has no packages of these clients.
[[ $SUITE == bookworm ]] || packages+=(docker-cli docker-compose docker-buildx)

die() {
  printf '!! %s\n' "$*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Without root, mmdebstrap reads these files as another user.
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
  [[ -e $keyring ]] || die "Debian's archive key is missing; install the package debian-archive-keyring"
  mirror=${MIRROR:-https://deb.debian.org/debian}
  printf 'Types: deb\nURIs: %s\nSuites: %s %s-updates\nComponents: main\nSigned-By: %s\n' \
    "$mirror" "$SUITE" "$SUITE" "$keyring" >"$work/debian.sources"
  [[ -n ${MIRROR-} ]] || printf '\nTypes: deb\nURIs: https://deb.debian.org/debian-security\nSuites: %s-security\nComponents: main\nSigned-By: %s\n' \
    "$SUITE" "$keyring" >>"$work/debian.sources"
fi
# A proxy's URL may contain a password, and everyone on this computer can read the files of a build. So the proxies of
# apt's configuration become variables, which apt reads too, and which only this user can see. A variable that is set
# already wins.
acquire_settings | grep -v -E '^Acquire::https?::Proxy ' >"$work/apt.conf" || true
for scheme in http https; do
  variable=${scheme}_proxy
  [[ -z ${!variable-} ]] || continue
  proxy=$(apt-config dump --no-empty --format '%v%n' "Acquire::$scheme::Proxy" | head -n 1)
  # DIRECT means none.
  [[ -z $proxy || $proxy == DIRECT ]] || export "$variable=$proxy"
done
# The URL of this computer's own mirror may contain a password.
[[ $(id -u) != 0 ]] || chmod 600 "$work/debian.sources"
# Without root, mmdebstrap reads files as another user. So a login travels in its environment, and becomes a file that
# only that user can read, until the packages are there.
login_hooks=()
if [[ -n ${MIRROR_LOGIN-} ]]; then
  export MIRROR_LOGIN
  login_hooks=(
    --setup-hook='mkdir -p "$1/etc/apt/auth.conf.d" && umask 077 && printf %s "$MIRROR_LOGIN" >"$1/etc/apt/auth.conf.d/slipway.conf"'
    --customize-hook='rm "$1/etc/apt/auth.conf.d/slipway.conf"'
  )
fi

echo 'Download and unpack the packages'
mkdir "$work/files"
cp "$files"/*.sh "$files"/*.service "$files"/*.conf "$work/files"
IFS=,
# update-initramfs would create an initial RAM disk that no machine boots. --force-confold keeps the file that disables
# it.
mmdebstrap --variant=minbase --architectures="$ARCH" --include="${packages[*]}" --format=tar \
  --aptopt="$work/apt.conf" --aptopt='Acquire::Languages "none"' \
  --dpkgopt=force-unsafe-io --dpkgopt=force-confold \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  "${login_hooks[@]}" \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"' \
  --customize-hook='mkdir "$1/slipway" && echo "Prepare the root"' \
  --customize-hook="copy-in $work/files /slipway" \
  --customize-hook='chroot "$1" env FILES=/slipway/files OUT=/slipway sh /slipway/files/prepare.sh' \
  --customize-hook='rm -r "$1/slipway/files"' \
  --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"' \
  "$SUITE" "$work/root.tar" "$work/debian.sources" 2>&1
unset IFS

echo 'Create the disk'
tree=$work/tree
mkdir "$tree"
as_owner=()
[[ $(id -u) == 0 ]] || as_owner=(fakeroot)
# In one call, since fakeroot forgets file owners when it exits.
"${as_owner[@]}" bash -euc '
  tree=$1 tar=$2 out=$3
  tar -xf "$tar" -C "$tree" --xattrs --xattrs-include="*" --exclude "./dev/*"
  mv "$tree"/slipway/{vmlinuz,initrd,engine} "$out/"
  rmdir "$tree/slipway"
  size=$(du -s --apparent-size -B 1M "$tree" | cut -f1)
  mke2fs -q -t ext4 -L slipway -m 1 -d "$tree" "$out/disk.raw" "$((size * 5 / 4 + 256))M"
' bash "$tree" "$work/root.tar" "$OUT"

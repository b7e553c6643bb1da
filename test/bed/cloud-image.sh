#!/usr/bin/env bash
# cloud-image.sh OUT PACKAGES PORT: makes a disk as vendors publish them for clouds, since none can be downloaded on a
# closed machine: partitions, a boot loader, the distribution's own initial RAM disk, cloud-init, no engine, no user. A
# raw disk in OUT. Its apt source is a server on PORT of the computer that runs it, for the repository in PACKAGES: the
# distribution's packages of the engine without their compression, and an index of only these. An emulated computer
# takes minutes to unpack and to read the distribution's own.
# shellcheck disable=SC2016 # what mmdebstrap runs expands there, not here
set -euo pipefail
out=$1
repository=$2
port=$3
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=templates/image/apt-sources.sh
. "$here/../../templates/image/apt-sources.sh"
suite=trixie
packages='systemd-sysv,udev,dbus,linux-image-cloud-amd64,initramfs-tools,zstd,openssh-server,cloud-init,cloud-guest-utils,netplan.io,systemd-resolved,sudo,iproute2,ca-certificates,e2fsprogs,procps,kmod,fdisk'
export ENGINE_PACKAGES='docker.io docker-cli docker-compose docker-buildx busybox-static iptables'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
# shellcheck source=/dev/null
own=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
suite_sources "$own" "$suite" >"$work/debian.sources"
acquire_settings >"$work/apt.conf"
printf 'deb [trusted=yes] http://10.0.2.2:%s ./\n' "$port" >"$work/packages.list"
mkdir "$work/downloads"
mmdebstrap --quiet --variant=minbase --include="$packages" --format=tar --aptopt="$work/apt.conf" \
  --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/var/cache/apt/archives/*.deb' \
  --customize-hook='chroot "$1" apt-get -qq --yes --no-install-recommends --download-only install $ENGINE_PACKAGES' \
  --customize-hook='cp "$1"/var/cache/apt/archives/*.deb '"$work/downloads/" \
  --customize-hook='rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/var/lib/apt/lists/*' \
  --customize-hook="copy-in $work/packages.list /etc/apt/sources.list.d" \
  --customize-hook='echo "datasource_list: [ NoCloud, None ]" >"$1/etc/cloud/cloud.cfg.d/90_datasource.cfg"' \
  --customize-hook='printf "LABEL=cloudroot / ext4 defaults 0 1\n" >"$1/etc/fstab"' \
  --customize-hook='chroot "$1" systemctl enable systemd-networkd' \
  --customize-hook='rm -f "$1/etc/ssh/ssh_host_"* "$1/etc/hostname"; : >"$1/etc/machine-id"' \
  "$suite" "$work/root.tar" "$work/debian.sources"

mkdir -p "$repository"
for package in "$work"/downloads/*.deb; do
  dpkg-deb -R "$package" "$work/package"
  dpkg-deb -Znone --root-owner-group -b "$work/package" "$repository/" >/dev/null
  rm -r "$work/package"
done
(
  cd "$repository"
  for package in *.deb; do
    dpkg-deb -f "$package"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' \
      "$package" "$(stat -c %s "$package")" "$(sha256sum <"$package" | cut -d' ' -f1)"
  done >Packages
)

mkdir "$work/tree"
tar -xf "$work/root.tar" -C "$work/tree" --exclude './dev/*'
mke2fs -q -t ext4 -L cloudroot -d "$work/tree" "$work/root.ext4" 2600M
boot=$work/boot.fat
truncate --size 100M "$boot"
mkfs.vfat -n BOOT "$boot" >/dev/null
mcopy -i "$boot" "$work"/tree/boot/vmlinuz-* ::vmlinuz
mcopy -i "$boot" "$work"/tree/boot/initrd.img-* ::initrd
printf 'DEFAULT linux\nPROMPT 0\nLABEL linux\n  KERNEL vmlinuz\n  INITRD initrd\n  APPEND root=LABEL=cloudroot ro console=ttyS0\n' >"$work/syslinux.cfg"
mcopy -i "$boot" "$work/syslinux.cfg" ::syslinux.cfg
syslinux --install "$boot"
truncate --size 2800M "$out"
printf 'label: dos\nunit: sectors\n2048,204800,c,*\n206848,,83\n' | sfdisk --quiet "$out"
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$out" conv=notrunc status=none
dd if="$boot" of="$out" bs=512 seek=2048 conv=notrunc,sparse status=none
dd if="$work/root.ext4" of="$out" bs=1M seek=101 conv=notrunc,sparse status=none

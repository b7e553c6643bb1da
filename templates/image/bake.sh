#!/bin/sh
# Runs once, as root, in a vendor's cloud image: installs the engine, prepares the root for Slipway's VMs, and writes
# the kernel, the initial RAM disk, the root device and the engine's version as a tar to the disk slipway-out. Then
# powers off. FILES is the folder with the files of templates/image.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
: "${FILES:?}"

report() {
    printf '\nslipway: %s\n' "$1" >/dev/console
}

report_failure() {
    code=$?
    [ "$code" != 0 ] || return 0
    report "failed: baking ended with exit status $code"
    sync
    poweroff -f
}
trap report_failure EXIT

# An engine that starts now would leave its identity in the image.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -q -o DPkg::Lock::Timeout=300 update
packages='docker.io busybox-static iptables'
for package in docker-cli docker-compose docker-buildx docker-compose-v2; do
    if apt-cache show "$package" >/dev/null 2>&1; then packages="$packages $package"; fi
done
# shellcheck disable=SC2086 # a list of words
apt-get -q -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends $packages
rm -f /usr/sbin/policy-rc.d

OUT=$(mktemp -d)
export OUT
sh "$FILES/prepare.sh"
sh "$FILES/finish.sh"
# The root disk is the first one, here and in each machine, so that its device keeps its name.
findmnt --noheadings --output SOURCE / >"$OUT/root"
grep -q '^/dev/vda' "$OUT/root" || { echo "the root is on $(cat "$OUT/root"), not on the first disk"; exit 1; }
rm -rf "$FILES"
tar -cf /dev/disk/by-id/virtio-slipway-out -C "$OUT" vmlinuz initrd engine root
fstrim / 2>/dev/null || true
sync
report ready
poweroff

#!/bin/sh
# Runs once, as root, in a vendor's cloud image that is started for it: installs the engine, makes it bootable as Slipway
# boots, and hands kernel, initial RAM disk and what is known of it out on a disk of its own. Then it stops.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
: "${FILES:?}"

say() {
    printf '\nslipway: %s\n' "$1" >/dev/console
}

ended() {
    code=$?
    [ "$code" != 0 ] || return 0
    say "failed: baking ended with exit status $code"
    sync
    poweroff -f
}
trap ended EXIT

# An engine that starts here would leave its identity in the image.
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
# The root's disk is the first here as it will be in each machine, so the name that it has now is the name that it keeps.
findmnt --noheadings --output SOURCE / >"$OUT/root"
grep -q '^/dev/vda' "$OUT/root" || { echo "the root is on $(cat "$OUT/root"), not on the first disk"; exit 1; }
rm -rf "$FILES"
tar -cf /dev/disk/by-id/virtio-slipway-out -C "$OUT" vmlinuz initrd engine root
fstrim / 2>/dev/null || true
sync
say ready
poweroff

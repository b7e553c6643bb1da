#!/bin/sh
# /init of the initial RAM disk: mounts the root disk, sets the network's address and applies the seed before systemd
# starts, so that nothing has to be started twice. The kernel runs it as process 1, on a static busybox.
# Parameters on the kernel's command line:
#   root=DEVICE       the root's device; its disk is always the first
#   slipway.seed=ID   apply the identity from the disk with the serial slipway-seed, unless it is applied already
#   slipway.probe     report that a guest can run on this computer, then power off
#   slipway.finish    create the files of an image that depend on this kernel, then power off

report() {
    echo "slipway: $1" >/dev/console
}

# The computer that runs this machine reads the reason on the serial console.
fail() {
    report "failed: $1"
    sync
    poweroff -f
}

parameter() {
    # shellcheck disable=SC2013 # the file is one line of words
    for item in $(cat /proc/cmdline); do
        case $item in "$1="*) echo "${item#*=}" ;; esac
    done
}

export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

case " $(cat /proc/cmdline) " in *' slipway.probe '*)
    report alive
    poweroff -f
    ;;
esac

for module in /modules/*.ko; do
    insmod "$module" 2>/dev/null || true
done

root=$(parameter root)
tries=0
until [ -b "$root" ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail "the root disk $root does not exist"
    usleep 50000
done
mount -o rw,noatime "$root" /sysroot || fail "the root disk $root can't be mounted"

case " $(cat /proc/cmdline) " in *' slipway.finish '*)
    for folder in proc sys dev; do mount --bind "/$folder" "/sysroot/$folder"; done
    mount -t securityfs securityfs /sysroot/sys/kernel/security || fail 'the kernel has no securityfs'
    chroot /sysroot /bin/sh /usr/lib/slipway/finish.sh || fail 'finish.sh failed'
    umount /sysroot/sys/kernel/security /sysroot/dev /sysroot/sys /sysroot/proc
    umount /sysroot || fail 'the root disk is busy'
    report ready
    poweroff -f
    ;;
esac

# QEMU's user-mode network is the same on every computer, so that DHCP is not needed.
ip link set lo up
if ip link set eth0 up; then
    ip addr add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
else
    report 'there is no network card'
fi

seed=$(parameter slipway.seed)
applied=/sysroot/var/lib/slipway/seed
if [ -n "$seed" ] && [ "$(cat $applied 2>/dev/null)" != "$seed" ]; then
    disk=''
    for serial in /sys/block/vd*/serial; do
        if [ "$(cat "$serial")" = slipway-seed ]; then disk=/dev/$(basename "$(dirname "$serial")"); fi
    done
    [ -n "$disk" ] || fail 'the disk with the seed is missing'
    tar -xf "$disk" -C /sysroot || fail 'the seed could not be unpacked; is the disk full?'
    chroot /sysroot /bin/sh /usr/lib/slipway/identity.sh || fail 'the user could not be created'
    # The mark is written once everything else is on the disk: after a power cut before it, the seed is applied again.
    sync
    mkdir -p "${applied%/*}"
    # The image's random seed is the same for all its machines.
    rm -f /sysroot/var/lib/systemd/random-seed
    echo "$seed" >$applied
    sync
fi

umount /proc
mount --move /sys /sysroot/sys
mount --move /dev /sysroot/dev
exec switch_root /sysroot /sbin/init

#!/bin/sh
# /init of the initial RAM disk: the least that a root disk, an address and an identity need before systemd starts, so that
# nothing has to be started twice. Runs on a static busybox; the kernel starts it as process 1.
# Words on the kernel's command line: root=DEVICE (the first disk is always the root's), slipway.seed=ID (the disk with the identity, laid once), slipway.probe
# (say that this computer can run a guest, then stop), slipway.finish (make what depends on this kernel, then stop).

say() {
    echo "slipway: $1" >/dev/console
}

# The serial log is what the user sees of it.
give_up() {
    say "failed: $1"
    sync
    poweroff -f
}

word() {
    # shellcheck disable=SC2013 # words are what is wanted
    for item in $(cat /proc/cmdline); do
        case $item in "$1="*) echo "${item#*=}" ;; esac
    done
}

export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

case " $(cat /proc/cmdline) " in *' slipway.probe '*)
    say alive
    poweroff -f
    ;;
esac

for module in /modules/*.ko; do
    insmod "$module" 2>/dev/null || true
done

root=$(word root)
tries=0
until [ -b "$root" ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || give_up "there is no root disk $(word root)"
    usleep 50000
done
mount -o rw,noatime "$root" /sysroot || give_up "the root disk $root can't be mounted"

case " $(cat /proc/cmdline) " in *' slipway.finish '*)
    for folder in proc sys dev; do mount --bind "/$folder" "/sysroot/$folder"; done
    mount -t securityfs securityfs /sysroot/sys/kernel/security || give_up 'its kernel has no securityfs'
    chroot /sysroot /bin/sh /usr/lib/slipway/finish.sh || give_up 'it could not be finished'
    umount /sysroot/sys/kernel/security /sysroot/dev /sysroot/sys /sysroot/proc
    umount /sysroot || give_up 'its disk is busy'
    say ready
    poweroff -f
    ;;
esac

# QEMU's user-mode network is the same on every computer, so nothing has to be asked for or waited for.
ip link set lo up
if ip link set eth0 up; then
    ip addr add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
else
    say 'there is no network card'
fi

seed=$(word slipway.seed)
laid=/sysroot/var/lib/slipway/seed
if [ -n "$seed" ] && [ "$(cat $laid 2>/dev/null)" != "$seed" ]; then
    disk=''
    for serial in /sys/block/vd*/serial; do
        if [ "$(cat "$serial")" = slipway-seed ]; then disk=/dev/$(basename "$(dirname "$serial")"); fi
    done
    [ -n "$disk" ] || give_up 'the disk with its identity is missing'
    tar -xf "$disk" -C /sysroot || give_up 'its identity could not be written; is the disk full?'
    chroot /sysroot /bin/sh /usr/lib/slipway/identity.sh || give_up 'its identity could not be taken'
    # The mark comes last and after all else is on the disk: a power cut before it means that all is laid again.
    sync
    mkdir -p "${laid%/*}"
    # What an image has of it is the same for all its machines.
    rm -f /sysroot/var/lib/systemd/random-seed
    echo "$seed" >$laid
    sync
fi

umount /proc
mount --move /sys /sysroot/sys
mount --move /dev /sysroot/dev
exec switch_root /sysroot /sbin/init

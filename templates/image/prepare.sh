#!/bin/sh
# Prepares a Debian root for Slipway's local VMs. Runs as root inside of it: in a chroot while an image is built, or in
# the machine itself while a vendor's image is baked. FILES is the folder with the files of templates/image. Writes the
# kernel, the initial RAM disk and the version of the engine to OUT.
set -eu
: "${FILES:?}" "${OUT:?}"
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

main() {
    kernel=$(find /boot -name 'vmlinuz-*' | sort -V | tail -n 1)
    version=${kernel##*/vmlinuz-}
    cp "$kernel" "$OUT/vmlinuz"
    build_initial_ram_disk
    install_files
    configure_network
    configure_services
    remove_identity
    dpkg-query -W -f '${Version}' docker.io >"$OUT/engine" 2>/dev/null || : >"$OUT/engine"
}

# Contains only the modules for the root disk and the network card: a tenth of the distribution's, and it needs no udev.
build_initial_ram_disk() {
    work=$(mktemp -d)
    mkdir -p "$work/bin" "$work/modules" "$work/proc" "$work/sys" "$work/dev" "$work/sysroot"
    cp "$(command -v busybox)" "$work/bin/busybox"
    for applet in sh mount umount cat echo sync poweroff insmod grep sed basename dirname usleep ip tar chroot mkdir rm switch_root; do
        ln -s busybox "$work/bin/$applet"
    done
    install -m 755 "$FILES/initrd.sh" "$work/init"
    number=10
    for module in virtio_pci virtio_blk virtio_net ext4; do
        modprobe --set-version "$version" --show-depends "$module" 2>/dev/null | while read -r kind path _; do
            if [ "$kind" = insmod ]; then echo "$path"; fi
        done
    done | awk '!seen[$0]++' >"$work/list"
    while read -r path; do
        name=$(basename "$path" | sed 's/\.ko.*//')
        # The numbers keep the order of loading: initrd.sh loads modules in the order of their names.
        case $path in
            *.xz) busybox unxz -c "$path" ;;
            *.gz) busybox gunzip -c "$path" ;;
            *.zst) zstd -dc "$path" ;;
            *) cat "$path" ;;
        esac >"$work/modules/$number-$name.ko"
        number=$((number + 1))
    done <"$work/list"
    rm "$work/list"
    (cd "$work" && find . | busybox cpio -o -H newc 2>/dev/null) >"$OUT/initrd"
    rm -rf "$work"
}

install_files() {
    install -D -m 755 "$FILES/identity.sh" /usr/lib/slipway/identity.sh
    install -D -m 755 "$FILES/ready.sh" /usr/lib/slipway/ready.sh
    install -D -m 644 "$FILES/slipway-ready.service" /etc/systemd/system/slipway-ready.service
    install -D -m 755 "$FILES/finish.sh" /usr/lib/slipway/finish.sh
    # In machines, the guest agent has the name that it had in the first images.
    install -D -m 755 "$FILES/guest-agent.sh" /usr/lib/slipway/told.sh
    install -D -m 644 "$FILES/guest-agent.service" /etc/systemd/system/slipway-told.service
    # A machine's disk is larger than its image.
    printf '/dev/root / auto rw,noatime,x-systemd.growfs 0 0\n' >/etc/fstab
    # On a vendor's image the root is a partition, which has to grow before its file system.
    if command -v growpart >/dev/null; then
        install -D -m 755 "$FILES/grow.sh" /usr/lib/slipway/grow.sh
        install -D -m 644 "$FILES/slipway-grow.service" /etc/systemd/system/slipway-grow.service
        systemctl enable --quiet slipway-grow.service
    fi
    printf 'PasswordAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n' \
        >/etc/ssh/sshd_config.d/slipway.conf
}

# The initial RAM disk has set the address, so that no DHCP client is needed.
configure_network() {
    rm -f /etc/resolv.conf
    echo 'nameserver 10.0.2.3' >/etc/resolv.conf
    [ ! -d /etc/cloud ] || touch /etc/cloud/cloud-init.disabled
    systemctl disable --quiet systemd-networkd.service systemd-networkd.socket systemd-resolved.service networking.service \
        2>/dev/null || true
}

configure_services() {
    systemctl enable --quiet slipway-ready.service slipway-told.service ssh.service
    if [ -e /usr/lib/systemd/system/docker.service ]; then systemctl enable --quiet docker.service; fi
    # These would slow down the first start, and hold apt's lock when the user needs it.
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
        man-db.timer fstrim.timer; do
        ln -sf /dev/null "/etc/systemd/system/$unit"
    done
    # VMs have no screen, and no firmware that stores crash dumps.
    systemctl mask --quiet getty@tty1.service systemd-backlight@.service modprobe@drm.service modprobe@efi_pstore.service \
        systemd-pstore.service systemd-udev-load-credentials.service 2>/dev/null || true
    # These file systems are mounted when they are needed, not at each start.
    mkdir -p /etc/systemd/system/sysinit.target.wants
    for mount in sys-kernel-config sys-fs-fuse-connections; do
        ln -sf /dev/null "/etc/systemd/system/sysinit.target.wants/$mount.mount"
    done
    # VMs have no partitions that are found by type, no hibernation, no TPM, and no vsock to the host.
    mkdir -p /etc/systemd/system-generators
    for generator in gpt-auto hibernate-resume tpm2 ssh; do
        ln -sf /dev/null "/etc/systemd/system-generators/systemd-$generator-generator"
    done
    install -D -m 644 "$FILES/udev-trigger.conf" /etc/systemd/system/systemd-udev-trigger.service.d/slipway.conf
}

# An identity belongs to a machine, not to its image. The machine-id stays as an empty file: without one, systemd would
# apply its presets.
remove_identity() {
    rm -f /etc/ssh/ssh_host_* /etc/hostname /var/lib/dbus/machine-id /var/lib/systemd/random-seed
    : >/etc/machine-id
    rm -rf /var/lib/docker /var/lib/containerd /var/lib/cloud /var/log/journal
    rm -f /var/cache/apt/archives/*.deb
    find /var/log -type f -exec truncate --size 0 {} +
    # Everything is as the packages in /usr need it; without these files, systemd would update it all once more.
    touch /etc/.updated /var/.updated
}

main

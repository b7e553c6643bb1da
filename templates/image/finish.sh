#!/bin/sh
# Runs once in the root of a new image, with the kernel that its machines will have. What it creates need not be created
# at the first start of each machine.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
# Compiles AppArmor's policies for the features of this kernel. Each start still loads them.
if command -v apparmor_parser >/dev/null && [ -e /sys/kernel/security/apparmor/features ]; then
    apparmor_parser --write-cache --skip-kernel-load --cache-loc /var/cache/apparmor /etc/apparmor.d >/dev/null
fi

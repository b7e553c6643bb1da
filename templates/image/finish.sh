#!/bin/sh
# Runs once in the root of a new image, under the kernel that its machines will have: what is made here need not be made at
# each machine's first start.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
# The policies of AppArmor, compiled for what this kernel can do; each start still loads every one of them.
if command -v apparmor_parser >/dev/null && [ -e /sys/kernel/security/apparmor/features ]; then
    apparmor_parser --write-cache --skip-kernel-load --cache-loc /var/cache/apparmor /etc/apparmor.d >/dev/null
fi

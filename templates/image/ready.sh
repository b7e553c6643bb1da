#!/bin/sh
# Tells the computer that runs this machine, over the serial console, how its start went.

report() {
    # A line of its own, whatever the kernel was writing.
    printf '\nslipway: %s\n' "$1" >/dev/console
}

for unit in docker.service ssh.service; do
    # An image may come without an engine; it is installed later.
    case $(systemctl show --property LoadState,ActiveState --value "$unit" | paste -sd' ') in
        'not-found '* | *' active') continue ;;
    esac
    journalctl --unit "$unit" --lines 15 --no-pager --output cat >/dev/console 2>&1
    report "failed: $unit did not start"
    exit 1
done
report ready

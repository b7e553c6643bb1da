#!/bin/sh
# Reports the result of the boot on the serial console, where the computer that runs this machine reads it.

report() {
    # The kernel may be in the middle of a line.
    printf '\nslipway: %s\n' "$1" >/dev/console
}

for unit in docker.service ssh.service; do
    # An image may come without an engine, which is installed later.
    case $(systemctl show --property LoadState,ActiveState --value "$unit" | paste -sd' ') in
        'not-found '* | *' active') continue ;;
    esac
    journalctl --unit "$unit" --lines 15 --no-pager --output cat >/dev/console 2>&1
    report "failed: $unit did not start"
    exit 1
done
report ready

# Reboots this host a moment later, so that this script still ends and Slipway hears that the reboot is coming.
LC_ALL=C
export LC_ALL
if ! reboot_soon; then
    echo '!! the reboot could not be scheduled' >&2
    exit 1
fi

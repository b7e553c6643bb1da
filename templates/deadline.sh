# Ends this host at the deadline of the machine $2: at $1, in seconds since 1970. slipway-deadline.timer runs it five minutes before,
# at the deadline itself, and ten minutes after each boot: a host that was off at its deadline gets so long to be told another one.
set -eu

tell() {
    echo "Slipway: $1" >/dev/console 2>/dev/null || true
    if command -v wall >/dev/null; then wall "Slipway: $1" 2>/dev/null || true; fi
}

left=$(($1 - $(date +%s)))
if [ "$left" -gt 360 ]; then exit 0; fi
if [ "$left" -gt 0 ]; then
    if [ "$left" -lt 90 ]; then in="$left s"; else in="$(((left + 30) / 60)) min"; fi
    tell "this machine, $2, is powered off in $in; more time: slipway extend $2 2h"
    exit 0
fi
tell "the deadline of this machine, $2, has come: it is powered off"
systemctl poweroff

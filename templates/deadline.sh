# Powers this host off at the deadline of the machine $2: at $1, in seconds since 1970. A timer runs it five minutes
# before the deadline, at the deadline itself, and ten minutes after each boot: a host that was off at its deadline has
# that long to receive a later one.
set -eu

announce() {
    echo "Slipway: $1" >/dev/console 2>/dev/null || true
    if command -v wall >/dev/null; then wall "Slipway: $1" 2>/dev/null || true; fi
}

left=$(($1 - $(date +%s)))
if [ "$left" -gt 360 ]; then exit 0; fi
if [ "$left" -gt 0 ]; then
    if [ "$left" -lt 90 ]; then in="$left s"; else in="$(((left + 30) / 60)) min"; fi
    announce "this machine, $2, powers off in $in. To extend its deadline: slipway extend $2 2h"
    exit 0
fi
announce "this machine, $2, powers off now: its deadline has passed"
power_off

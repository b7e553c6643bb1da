# Lays the timers that end or stop this host by itself, or takes them away. The engine has no part in it.
# MANIFEST: lines of `mode staged-name path`; mode `-` takes the file away. Staged files lie in ./files. TIMERS: those that run from now on.

RUN=${RUN:-/run/slipway}
all='slipway-deadline.timer slipway-idle.timer'

main() {
    LC_ALL=C
    export LC_ALL
    each stage_one || { why 'the files could not be written'; each unstage_one; exit 1; }
    # /run forgets it with the boot, and a boot reads what lies there. Until then a run that was cut off is gone on with.
    mkdir -p "$RUN"
    : >"$RUN/life-pending"
    # What runs by now goes on until the new one is read: a host that could not be told must not be left without any deadline.
    each move_one || { why 'the files could not be moved into place'; each unstage_one; exit 1; }
    # One that runs and has no file any more would count as failed from the reload on.
    for timer in $all; do
        case " $TIMERS " in *" $timer "*) ;; *) systemctl stop "$timer" 2>/dev/null || true ;; esac
    done
    systemctl daemon-reload || { why 'systemd could not read them'; exit 1; }
    # What was laid now counts as a sign of life.
    rm -f "$RUN/active"
    for timer in $TIMERS; do
        systemctl restart "$timer" || { why "$timer could not be started"; exit 1; }
    done
    rm -f "$RUN/life-pending"
}

why() {
    echo "!! $1" >&2
}

each() {
    printf '%s\n' "$MANIFEST" | while read -r mode name path; do
        [ -z "$path" ] || "$1" "$mode" "$name" "$path" || exit 1
    done
}

stage_one() {
    [ "$1" != - ] || return 0
    mkdir -p "$(dirname "$3")" || return 1
    cp "files/$2" "$3.slipway-new" && chmod "$1" "$3.slipway-new" && sync "$3.slipway-new"
}

unstage_one() {
    rm -f "$3.slipway-new"
}

move_one() {
    if [ "$1" != - ]; then
        mv -f "$3.slipway-new" "$3"
        return
    fi
    rm -f "$3" || return
    # A folder that was ours alone goes with its last file.
    case $3 in
        /usr/local/lib/slipway/* | */timers.target.d/*) rmdir "$(dirname "$3")" 2>/dev/null || true ;;
    esac
}

main

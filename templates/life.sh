# Installs or removes the timers with which this host ends or stops by itself. The engine is not involved.
# MANIFEST: lines `mode number path`; mode `-` removes the file. The new files are in ./files. TIMERS: the timers to run
# from now on.

RUN=${RUN:-/run/slipway}

main() {
    LC_ALL=C
    export LC_ALL
    each stage_file || { explain 'the files could not be written'; each unstage_file; exit 1; }
    # This mark makes the next run complete an interrupted one. A boot clears it, and reads the files as they are.
    mkdir -p "$RUN"
    : >"$RUN/life-pending"
    # Running timers continue until the new ones are loaded: a failure here must not leave the host without a deadline.
    each move_file || { explain 'the files could not be moved into place'; each unstage_file; exit 1; }
    # After the reload, a running timer without a file would count as failed.
    for timer in $(all_timers); do
        case " $TIMERS " in *" $timer "*) ;; *) stop_timer "$timer" ;; esac
    done
    reload_definitions || { explain 'the timers could not be loaded'; exit 1; }
    # Changing the lifetime counts as activity.
    rm -f "$RUN/active"
    for timer in $TIMERS; do
        start_timer "$timer" || { explain "$timer could not be started"; exit 1; }
    done
    rm -f "$RUN/life-pending"
}

# Slipway shows the user the last line that begins with `!!`.
explain() {
    echo "!! $1" >&2
}

each() {
    printf '%s\n' "$MANIFEST" | while read -r mode name path; do
        [ -z "$path" ] || "$1" "$mode" "$name" "$path" || exit 1
    done
}

stage_file() {
    [ "$1" != - ] || return 0
    mkdir -p "$(dirname "$3")" || return 1
    cp "files/$2" "$3.slipway-new" && chmod "$1" "$3.slipway-new" && sync "$3.slipway-new"
}

unstage_file() {
    rm -f "$3.slipway-new"
}

move_file() {
    if [ "$1" != - ]; then
        mv -f "$3.slipway-new" "$3"
        return
    fi
    rm -f "$3" || return
    # A folder that only Slipway used goes with its last file.
    folder=$(dirname "$3")
    if [ "$folder" = /usr/local/lib/slipway ] || is_definition_folder "$folder"; then
        rmdir "$folder" 2>/dev/null || true
    fi
}

main

# Writes files, each completely or not at all, and makes a running engine read them.
# MANIFEST: lines `mode number path`. Mode `-` removes the file; mode `=` keeps the file's mode and owner (a new file
# gets 644). The new files are in ./files.
# ENGINE: restart; start; later (the package of another version will restart it); or none (there is no engine yet, its
# package will start it, or it need not read the files).
# ENABLE: yes, to start the engine with the host; undo, to no longer do so; or no, to leave that as it is.

main() {
    LC_ALL=C
    export LC_ALL
    unset_live_restore || { explain 'daemon.json could not be restored to what it was before an interrupted run'; exit 1; }
    if ! is_restart_pending; then forget_previous; fi
    # Only these two can run out of space, and when they do nothing has changed yet.
    each keep_previous || { explain 'the present files could not be backed up'; exit 1; }
    each stage_file || { explain 'the files could not be written'; each unstage_file; exit 1; }
    # The running engine must do its part before the files are there, since it may not be able to read them.
    if [ "$ENGINE" = restart ] || [ "$ENGINE" = later ]; then
        mark_restart_pending
        protect_containers
    fi
    # Before the state file is removed, since it says that the service was disabled.
    if [ "$ENABLE" = undo ]; then
        disable_engine || { explain "the engine's service could not be disabled again"; each unstage_file; exit 1; }
    fi
    each move_file || { explain 'the files could not be moved into place'; restore_previous; exit 1; }
    reload_definitions
    case $ENGINE in
        restart) restart_or_restore ;;
        start)
            start_engine || { explain 'the engine could not be started'; exit 1; }
            require_local_answer
            ;;
        none) is_restart_pending || forget_previous ;;
    esac
    # Only if needed, since it can take as long as the rest of this script.
    if [ "$ENABLE" = yes ]; then
        enable_engine || { explain 'the engine could not be set to start with the host'; exit 1; }
    fi
}

# Functions called by this one run without the shell's -e, so they return a status where they fail.
each() {
    printf '%s\n' "$MANIFEST" | while read -r mode name path; do
        # daemon.json may be a link into a tree of the user's own.
        [ "$mode" != = ] || path=$(readlink -f "$path" || echo "$path")
        [ -z "$path" ] || "$1" "$mode" "$name" "$path" || exit 1
    done
}

# Writes the file beside its place, to be moved there in one go.
stage_file() {
    [ "$1" != - ] || return 0
    mkdir -p "$(dirname "$3")" || return 1
    mode=$1
    [ "$mode" != = ] || mode=$(stat -c %a "$3" 2>/dev/null || echo 644)
    (umask 077 && cp "files/$2" "$3.slipway-new") || return
    if [ "$1" = = ] && [ -e "$3" ]; then chown --reference="$3" "$3.slipway-new" || return; fi
    chmod "$mode" "$3.slipway-new" && sync "$3.slipway-new"
}

unstage_file() {
    rm -f "$3.slipway-new"
}

move_file() {
    if [ "$1" != - ]; then
        mv -f "$3.slipway-new" "$3"
    else
        rm -f "$3" || return
        remove_empty_folder "$(dirname "$3")"
    fi
}

main

# Writes files, each completely or not at all, and makes a running engine read them.
# MANIFEST: lines `mode number path`. Mode `-` removes the file; mode `=` keeps the file's mode (a new file gets 644).
# The new files are in ./files.
# ENGINE: restart; start; later (the package of another version will restart it); or none (there is no engine yet, its
# package will start it). ENABLE: yes, to start the engine with the host. CONTAINERS: stop, where they can't keep
# running without their engine.

main() {
    LC_ALL=C
    export LC_ALL
    mkdir backup
    unset_live_restore || { explain 'daemon.json could not be restored to what it was before an interrupted run'; exit 1; }
    # Only these two can run out of space, and when they do nothing has changed yet.
    each back_up_file || { explain 'the present files could not be backed up'; exit 1; }
    each stage_file || { explain 'the files could not be written'; each unstage_file; exit 1; }
    if [ "$ENGINE" = restart ] || [ "$ENGINE" = later ]; then
        # A boot clears /run, and no restart is needed then. After an installation that fails, this mark makes the next
        # run restart the engine, which otherwise would never read the new files.
        mkdir -p /run/slipway
        : >/run/slipway/restart-pending
    fi
    keep=no
    if [ "$ENGINE" = restart ] && [ "${CONTAINERS:-keep}" = keep ] && keep_containers_alive; then keep=yes; fi
    each move_file || { explain 'the files could not be moved into place'; each restore_file; exit 1; }
    reload_definitions
    case $ENGINE in
        restart) restart_or_restore ;;
        start) start_engine || { explain 'the engine could not be started'; exit 1; } ;;
    esac
    # Only if needed, since it can take as long as the rest of this script.
    if [ "$ENABLE" = yes ]; then
        enable_engine || { explain 'the engine could not be set to start with the host'; exit 1; }
    fi
}

# Slipway shows the user the last line that begins with `!!`.
explain() {
    echo "!! $1" >&2
}

# Functions called by this one run without the shell's -e, so they return a status where they fail.
each() {
    printf '%s\n' "$MANIFEST" | while read -r mode name path; do
        # daemon.json may be a link into a tree of the user's own.
        [ "$mode" != = ] || path=$(readlink -f "$path" || echo "$path")
        [ -z "$path" ] || "$1" "$mode" "$name" "$path" || exit 1
    done
}

back_up_file() {
    [ ! -e "$3" ] || cp -p "$3" "backup/$2"
}

# Writes the file beside its place, to be moved there in one go.
stage_file() {
    [ "$1" != - ] || return 0
    mkdir -p "$(dirname "$3")" || return 1
    mode=$1
    [ "$mode" != = ] || mode=$(stat -c %a "$3" 2>/dev/null || echo 644)
    (umask 077 && cp "files/$2" "$3.slipway-new") && chmod "$mode" "$3.slipway-new" && sync "$3.slipway-new"
}

unstage_file() {
    rm -f "$3.slipway-new"
}

move_file() {
    if [ "$1" != - ]; then
        mv -f "$3.slipway-new" "$3"
    else
        rm -f "$3" || return
        # A folder that only Slipway used goes with its last file.
        folder=$(dirname "$3")
        case $folder in /etc/docker/slipway | /etc/docker/slipway/*) rmdir "$folder" 2>/dev/null || true ;; esac
        if is_definition_folder "$folder"; then rmdir "$folder" 2>/dev/null || true; fi
    fi
}

restore_file() {
    if [ -e "backup/$2" ]; then
        mkdir -p "$(dirname "$3")" && cp -p "backup/$2" "$3.slipway-new" && mv -f "$3.slipway-new" "$3"
    else
        rm -f "$3" "$3.slipway-new"
    fi
}

restart_or_restore() {
    if restart_engine; then
        rm -f /run/slipway/restart-pending
        return
    fi
    print_engine_log >&2 || true
    # The service manager tries again by itself, and would do so with the old configuration before that keeps containers
    # alive.
    stop_engine
    each restore_file || {
        explain 'the engine did not start with the new configuration, and the old one could not be restored'
        exit 1
    }
    reload_definitions
    if restart_engine; then
        rm -f /run/slipway/restart-pending
        explain 'the engine did not start with the new configuration, so the old one was restored'
    else
        explain 'the engine did not start with the new configuration, nor with the old one'
    fi
    exit 1
}

# --- containers keep running while their engine restarts ---
#
# With live-restore they do, if both the old and the new engine have it. This script adds it to daemon.json until both
# have read it, but not if the configuration already sets live-restore, and not in a swarm, which refuses an engine that
# has it.

json=/etc/docker/daemon.json
# While this file exists, daemon.json begins with the temporary setting. The file contains `made` if Slipway created
# daemon.json only for that.
mark=/etc/docker/slipway/live-restore-lent

# Makes the running engine keep its containers alive when it ends; fails where it can't.
keep_containers_alive() {
    info=$(engine_info)
    case $info in
        '' | *'"ContainersRunning":0,"ContainersPaused":0,'*) return 1 ;;
        *'"LocalNodeState":"inactive"'*) ;;
        *) return 1 ;;
    esac
    ! disables_live_restore "$json" && ! disables_live_restore "$(daemon_json_path).slipway-new" &&
        ! is_on_command_line || return 1
    case $info in *'"LiveRestoreEnabled":true'*) return 0 ;; esac
    set_live_restore true || { unset_live_restore; return 1; }
    reload_until_live_restore_is true || { unset_live_restore; return 1; }
    unset_live_restore
}

restart_engine() {
    forget_failed_starts
    if [ "$keep" = no ] || mentions_live_restore "$json" || ! set_live_restore true; then
        unset_live_restore || true
        start_engine
        return
    fi
    started=0
    start_engine || started=$?
    # An engine keeps a setting that is only left out when it reads daemon.json again.
    if [ "$started" = 0 ] && set_live_restore false; then reload_until_live_restore_is false || true; fi
    unset_live_restore || { explain 'daemon.json could not be restored'; exit 1; }
    return "$started"
}

# Prints what the engine says about itself, as JSON; nothing where none answers.
engine_info() {
    if command -v curl >/dev/null; then
        curl -s --max-time 10 --unix-socket /var/run/docker.sock http://localhost/info || true
    else
        docker -H unix:///var/run/docker.sock info -f '{{json .}}' 2>/dev/null || true
    fi
}

# A running engine reads daemon.json a moment after the signal, and does not say when it has.
reload_until_live_restore_is() {
    kill -HUP "$(engine_pid)" || return
    for _ in $(seq 50); do
        case $(engine_info) in *"\"LiveRestoreEnabled\":$1"*) return 0 ;; esac
        sleep 0.1
    done
    return 1
}

# The engine does not start if daemon.json and its command line have the same setting.
is_on_command_line() {
    tr '\0' '\n' <"/proc/$(engine_pid)/cmdline" | grep -q -e '^--\{0,1\}live-restore'
}

mentions_live_restore() {
    grep -q '"live-restore"' "$1" 2>/dev/null
}

disables_live_restore() {
    grep -q '"live-restore"[[:space:]]*:[[:space:]]*false' "$1" 2>/dev/null
}

daemon_json_path() {
    readlink -f "$json" || echo "$json"
}

set_live_restore() {
    unset_live_restore || return
    file=$(daemon_json_path)
    mkdir -p "${mark%/*}" || return
    case $(tr -d '[:space:]' <"$file" 2>/dev/null) in
        '')
            # The mark comes before the file, so that no temporary setting is ever without its mark.
            echo made >"$mark" && echo "{\"live-restore\": $1}" >"$file.slipway-lent"
            ;;
        '{}') : >"$mark" && cp -p "$file" "$file.slipway-lent" && echo "{\"live-restore\": $1}" >"$file.slipway-lent" ;;
        *)
            : >"$mark" && cp -p "$file" "$file.slipway-lent" &&
                sed "0,/{/s/{/{\"live-restore\": $1,/" "$file" >"$file.slipway-lent"
            ;;
    esac && sync "$mark" "$file.slipway-lent" && mv -f "$file.slipway-lent" "$file"
}

unset_live_restore() {
    [ -e "$mark" ] || return 0
    file=$(daemon_json_path)
    if [ -e "$file" ]; then
        cp -p "$file" "$file.slipway-lent" &&
            sed '0,/{/s/{"live-restore": \(true\|false\),\{0,1\}/{/' "$file" >"$file.slipway-lent" || return
        if [ -s "$mark" ] && [ "$(cat "$file.slipway-lent")" = '{}' ]; then
            rm -f "$file" "$file.slipway-lent"
        else
            sync "$file.slipway-lent" && mv -f "$file.slipway-lent" "$file" || return
        fi
    fi
    rm -f "$mark"
    # With --deprovision the folder may be empty by now.
    rmdir "${mark%/*}" 2>/dev/null || true
}

main

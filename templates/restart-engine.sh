# Makes the engine read new files, or takes them back if it does not start with them. Joined before a step's own script.
# CONTAINERS: stop, where they can't keep running without their engine. LOCAL_SOCKET: none, if the engine is not to
# listen on its local socket.

# A boot clears /run, and no restart is needed then. If a run ends while this mark exists, the next run restarts the
# engine, which otherwise would never read the new files.
pending=/run/slipway/restart-pending
# The files as they were before an engine had to read new ones, for as long as the mark exists. A run that was killed
# leaves them to the next one: only the first run has seen the files with which the engine last started.
previous=/run/slipway/previous
keep=no

# Slipway shows the user the last line that begins with `!!`.
explain() {
    echo "!! $1" >&2
}

is_restart_pending() {
    [ -e "$pending" ]
}

mark_restart_pending() {
    mkdir -p "${pending%/*}" && : >"$pending"
}

end_restart() {
    rm -f "$pending"
    forget_previous
}

# --- the previous files ---

# Copies the file at path $3 unless an earlier run has.
keep_previous() {
    (umask 077 && mkdir -p "$previous/files$(dirname "$3")" && touch "$previous/paths") || return
    if grep -qxF -e "$3" "$previous/paths"; then return; fi
    if [ -e "$3" ]; then cp -p "$3" "$previous/files$3" || return; fi
    echo "$3" >>"$previous/paths"
}

has_previous() {
    [ -s "$previous/paths" ]
}

restore_previous() {
    while read -r path; do
        if [ -e "$previous/files$path" ]; then
            mkdir -p "$(dirname "$path")" && cp -p "$previous/files$path" "$path.slipway-new" &&
                mv -f "$path.slipway-new" "$path" || return
        else
            rm -f "$path" "$path.slipway-new" || return
            remove_empty_folder "$(dirname "$path")"
        fi
    done <"$previous/paths"
}

forget_previous() {
    rm -rf "$previous"
}

# A folder that only Slipway used goes with its last file.
remove_empty_folder() {
    case $1 in /etc/docker/slipway | /etc/docker/slipway/*) rmdir "$1" 2>/dev/null || true ;; esac
    if is_definition_folder "$1"; then rmdir "$1" 2>/dev/null || true; fi
}

# --- restart or restore ---

restart_or_restore() {
    if restart_engine && answers_after_restart; then end_restart; else restore_and_restart; fi
}

# The engine does not work with the new files, for the reason in `failure`.
restore_and_restart() {
    print_engine_log >&2 || true
    if ! has_previous; then
        explain "the engine $failure"
        exit 1
    fi
    # The service manager tries again by itself, and would do so with the old configuration before that keeps containers
    # alive.
    stop_engine
    restore_previous || {
        explain "the engine $failure with the new configuration, and the old one could not be restored"
        exit 1
    }
    reload_definitions
    if restart_engine; then
        end_restart
        explain "the engine $failure with the new configuration, so the old one was restored"
    else
        explain "the engine $failure with the new configuration, nor with the old one"
    fi
    forget_previous
    exit 1
}

failure='did not start'

answers_locally() {
    if [ "${LOCAL_SOCKET:-}" = none ] || [ -n "$(engine_info 30)" ]; then return; fi
    failure='did not answer on /var/run/docker.sock'
    return 1
}

# An engine that was restarted without its socket may have deleted the file of that socket when it ended.
answers_after_restart() {
    answers_locally || { restart_engine && answers_locally; }
}

require_local_answer() {
    answers_locally || { explain "the engine $failure"; exit 1; }
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

# Lets restart_engine keep containers alive where they can be.
protect_containers() {
    if keep_containers_alive; then keep=yes; fi
}

# Makes the running engine keep its containers alive when it ends; fails where it can't.
keep_containers_alive() {
    [ "${CONTAINERS:-keep}" = keep ] || return 1
    info=$(engine_info 10)
    if [ -z "$info" ] && can_keep_unasked; then return 0; fi
    case $info in
        '' | *'"ContainersRunning":0,"ContainersPaused":0,'*) return 1 ;;
        *'"LocalNodeState":"inactive"'*) ;;
        *) return 1 ;;
    esac
    for file in "$json" "$(daemon_json_path).slipway-new"; do
        if disables_live_restore "$file" || is_utf16 "$file"; then return 1; fi
    done
    ! is_on_command_line || return 1
    case $info in *'"LiveRestoreEnabled":true'*) return 0 ;; esac
    set_live_restore true || { unset_live_restore; return 1; }
    reload_until_live_restore_is true || { unset_live_restore; return 1; }
    unset_live_restore
}

# Without its local socket, an engine can't say whether it has read the setting; a second is long enough. In a swarm, it
# would not start with it.
can_keep_unasked() {
    [ "$(engine_pid)" != 0 ] && [ ! -e /var/lib/docker/swarm/docker-state.json ] || return
    if is_on_command_line || mentions_live_restore "$json" || is_utf16 "$json" || grep -q '"data-root"' "$json"; then
        return 1
    fi
    set_live_restore true && kill -HUP "$(engine_pid)" && sleep 1
    unset_live_restore
}

restart_engine() {
    forget_failed_starts
    lend_live_restore
    started=0
    start_engine || started=$?
    return_live_restore
    return "$started"
}

# Adds the setting that keeps containers alive to what the engine reads when it starts.
lend_live_restore() {
    # Of an earlier call, or else it would look like the user's.
    unset_live_restore || true
    if [ "$keep" = no ] || mentions_live_restore "$json"; then return; fi
    set_live_restore true || unset_live_restore || true
}

# An engine keeps a setting that is only left out when it reads daemon.json again.
return_live_restore() {
    if [ -e "$mark" ] && [ "$(engine_pid)" != 0 ] && set_live_restore false; then
        reload_until_live_restore_is false || true
    fi
    unset_live_restore || { explain 'daemon.json could not be restored'; exit 1; }
}

# A running engine reads daemon.json a moment after the signal, and does not say when it has.
reload_until_live_restore_is() {
    kill -HUP "$(engine_pid)" || return
    for _ in $(seq 50); do
        case $(engine_info 10) in *"\"LiveRestoreEnabled\":$1"*) return 0 ;; esac
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

# sed can't change such a file.
is_utf16() {
    case $(head -c 2 "$1" 2>/dev/null | od -An -tx1) in ' ff fe' | ' fe ff') return 0 ;; *) return 1 ;; esac
}

daemon_json_path() {
    readlink -f "$json" || echo "$json"
}

set_live_restore() {
    unset_live_restore || return
    file=$(daemon_json_path)
    mkdir -p "${mark%/*}" || return
    # Without spaces and a byte order mark.
    case $(tr -d '[:space:]\357\273\277' <"$file" 2>/dev/null) in
        '')
            # The mark comes before the file, so that no temporary setting is ever without its mark.
            echo made >"$mark" && echo "{\"live-restore\": $1}" >"$file.slipway-lent"
            ;;
        '{}') : >"$mark" && add_live_restore "$1" ;;
        *) : >"$mark" && add_live_restore "$1," ;;
    esac && sync "$mark" "$file.slipway-lent" && mv -f "$file.slipway-lent" "$file"
}

add_live_restore() {
    cp -p "$file" "$file.slipway-lent" && sed "0,/{/s/{/{\"live-restore\": $1/" "$file" >"$file.slipway-lent"
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

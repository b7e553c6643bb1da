# Lays files in their places, each whole or not at all, and lets a running engine read them.
# MANIFEST: lines of `mode staged-name path`. Mode `-` takes the file away; mode `=` keeps the mode that it has, 644 for a
# new one. Staged files lie in ./files.
# ENGINE: restart, start, later (the package of another version will restart it) or none (there is no engine yet; its
# package will start it). ENABLE: yes, to start with the host. CONTAINERS: stop, where they can't run on without their engine.

main() {
    LC_ALL=C
    export LC_ALL
    mkdir backup
    take_back || { why 'daemon.json could not be put back as it was before a run that was cut off'; exit 1; }
    # Only these two can run out of space, and when they do nothing has changed yet.
    each keep_one || { why 'the files that are there could not be kept aside'; exit 1; }
    each stage_one || { why 'the files could not be written'; each unstage_one; exit 1; }
    if [ "$ENGINE" = restart ] || [ "$ENGINE" = later ]; then
        # /run forgets it with the boot, and a boot makes the restart needless. An installation that fails leaves it, and
        # so does not leave an engine that never reads what was laid.
        mkdir -p /run/slipway
        : >/run/slipway/restart-pending
    fi
    keep=no
    if [ "$ENGINE" = restart ] && [ "${CONTAINERS:-keep}" = keep ] && let_containers_live; then keep=yes; fi
    each move_one || { why 'the files could not be moved into place'; each undo_one; exit 1; }
    systemctl daemon-reload
    case $ENGINE in
        restart) restart_or_undo ;;
        start) start_engine || { why 'docker.service could not be started'; exit 1; } ;;
    esac
    # Only where needed: on Debian it costs as much as the rest of this script.
    if [ "$ENABLE" = yes ]; then
        systemctl enable --quiet docker.service || { why 'docker.service could not be enabled'; exit 1; }
    fi
}

why() {
    echo "!! $1" >&2
}

# Functions called by this one run without the shell's -e, so they say themselves where they failed.
each() {
    printf '%s\n' "$MANIFEST" | while read -r mode name path; do
        # A file of somebody else's may be a link into their own tree.
        [ "$mode" != = ] || path=$(readlink -f "$path" || echo "$path")
        [ -z "$path" ] || "$1" "$mode" "$name" "$path" || exit 1
    done
}

keep_one() {
    [ ! -e "$3" ] || cp -p "$3" "backup/$2"
}

# Written beside its place first, to be moved there in one go.
stage_one() {
    [ "$1" != - ] || return 0
    mkdir -p "$(dirname "$3")" || return 1
    mode=$1
    [ "$mode" != = ] || mode=$(stat -c %a "$3" 2>/dev/null || echo 644)
    (umask 077 && cp "files/$2" "$3.slipway-new") && chmod "$mode" "$3.slipway-new" && sync "$3.slipway-new"
}

unstage_one() {
    rm -f "$3.slipway-new"
}

move_one() {
    if [ "$1" != - ]; then
        mv -f "$3.slipway-new" "$3"
    else
        rm -f "$3" || return
        # A folder that was ours alone goes with its last file.
        case $3 in
            /etc/docker/slipway/* | */docker.service.d/*) rmdir "$(dirname "$3")" 2>/dev/null || true ;;
        esac
    fi
}

undo_one() {
    if [ -e "backup/$2" ]; then
        mkdir -p "$(dirname "$3")" && cp -p "backup/$2" "$3.slipway-new" && mv -f "$3.slipway-new" "$3"
    else
        rm -f "$3" "$3.slipway-new"
    fi
}

restart_or_undo() {
    if restart_engine; then
        rm -f /run/slipway/restart-pending
        return
    fi
    journalctl -u docker.service -n 15 --no-pager -o cat >&2 || true
    # systemd tries again by itself, and would with the old configuration before that lets the containers live.
    systemctl stop docker.service docker.socket 2>/dev/null || true
    each undo_one || { why 'the engine did not start with the new configuration, and the old one could not be put back'; exit 1; }
    systemctl daemon-reload
    if restart_engine; then
        rm -f /run/slipway/restart-pending
        why 'the engine did not start with the new configuration, so the old one was put back'
    else
        why 'the engine did not start with the new configuration, nor with the old one'
    fi
    exit 1
}

# --- containers run on while their engine restarts ---
#
# With live-restore they do, if the engine that ends has it and the engine that starts has it. Both are lent it: it stands in
# daemon.json for as long as it takes them to read it. What somebody has said about it counts, as does a swarm, which takes no
# engine that has it.

json=/etc/docker/daemon.json
# As long as this is there, daemon.json begins with what was lent. `made`: it holds nothing else, and was not there before.
lent=/etc/docker/slipway/live-restore-lent

# Whether the engine that runs lets its containers live from now on.
let_containers_live() {
    told=$(engine_says)
    case $told in
        '' | *'"ContainersRunning":0,"ContainersPaused":0,'*) return 1 ;;
        *'"LocalNodeState":"inactive"'*) ;;
        *) return 1 ;;
    esac
    ! refused "$json" && ! refused "$(real_json).slipway-new" && ! is_on_command_line || return 1
    case $told in *'"LiveRestoreEnabled":true'*) return 0 ;; esac
    lend true || { take_back; return 1; }
    reload_until true || { take_back; return 1; }
    take_back
}

restart_engine() {
    # Three starts within a minute are all that the unit allows; ours is not one of the failing kind.
    systemctl reset-failed docker.service docker.socket 2>/dev/null || true
    if [ "$keep" = no ] || speaks_of_it "$json" || ! lend true; then
        take_back || true
        start_engine
        return
    fi
    started=0
    start_engine || started=$?
    # What it is told nothing of any more, an engine keeps.
    if [ "$started" = 0 ] && lend false; then reload_until false || true; fi
    take_back || { why 'daemon.json could not be put back as it was'; exit 1; }
    return "$started"
}

start_engine() {
    socket=$(lost_socket)
    systemctl restart ${socket:+"$socket"} docker.service
}

# An engine that was told to listen at the unit's own socket has put another in its place, and takes it along when it ends: the unit
# has to make it anew, or nobody on the host would find the engine that listens there next.
lost_socket() {
    systemctl is-active --quiet docker.socket || return 0
    if [ ! -S /run/docker.sock ] || engine_listens_itself; then echo docker.socket; fi
}

engine_listens_itself() {
    tr '\0' '\n' 2>/dev/null <"/proc/$(engine_pid)/cmdline" | grep -q '^unix:///\(var/\)\{0,1\}run/docker\.sock$'
}

# The engine of this host about itself, as JSON; nothing where none answers.
engine_says() {
    if command -v curl >/dev/null; then
        curl -s --max-time 10 --unix-socket /var/run/docker.sock http://localhost/info || true
    else
        docker -H unix:///var/run/docker.sock info -f '{{json .}}' 2>/dev/null || true
    fi
}

# A running engine reads daemon.json a moment after it is told to, and nobody is told when.
reload_until() {
    kill -HUP "$(engine_pid)" || return
    for _ in $(seq 50); do
        case $(engine_says) in *"\"LiveRestoreEnabled\":$1"*) return 0 ;; esac
        sleep 0.1
    done
    return 1
}

engine_pid() {
    systemctl show --property MainPID --value docker.service
}

# A setting that stands in both places keeps an engine from starting.
is_on_command_line() {
    tr '\0' '\n' <"/proc/$(engine_pid)/cmdline" | grep -q -e '^--\{0,1\}live-restore'
}

speaks_of_it() {
    grep -q '"live-restore"' "$1" 2>/dev/null
}

refused() {
    grep -q '"live-restore"[[:space:]]*:[[:space:]]*false' "$1" 2>/dev/null
}

real_json() {
    readlink -f "$json" || echo "$json"
}

lend() {
    take_back || return
    file=$(real_json)
    mkdir -p "${lent%/*}" || return
    case $(tr -d '[:space:]' <"$file" 2>/dev/null) in
        '')
            # Words before the file, so that each that is there is known as ours.
            echo made >"$lent" && echo "{\"live-restore\": $1}" >"$file.slipway-lent"
            ;;
        '{}') : >"$lent" && cp -p "$file" "$file.slipway-lent" && echo "{\"live-restore\": $1}" >"$file.slipway-lent" ;;
        *)
            : >"$lent" && cp -p "$file" "$file.slipway-lent" &&
                sed "0,/{/s/{/{\"live-restore\": $1,/" "$file" >"$file.slipway-lent"
            ;;
    esac && sync "$lent" "$file.slipway-lent" && mv -f "$file.slipway-lent" "$file"
}

take_back() {
    [ -e "$lent" ] || return 0
    file=$(real_json)
    if [ -e "$file" ]; then
        cp -p "$file" "$file.slipway-lent" &&
            sed '0,/{/s/{"live-restore": \(true\|false\),\{0,1\}/{/' "$file" >"$file.slipway-lent" || return
        if [ -s "$lent" ] && [ "$(cat "$file.slipway-lent")" = '{}' ]; then
            rm -f "$file" "$file.slipway-lent"
        else
            sync "$file.slipway-lent" && mv -f "$file.slipway-lent" "$file" || return
        fi
    fi
    rm -f "$lent"
    # With --deprovision its folder was ours alone.
    rmdir "${lent%/*}" 2>/dev/null || true
}

main

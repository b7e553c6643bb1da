# Powers this host off once it has been idle for $1 seconds: no container ran and none was built, no client was
# connected to its engine (port $2, or its socket) and no user was logged in. $3 is the machine's name. A timer runs it
# every $4 seconds. RUN/active holds the host's uptime at the last activity, RUN/looked the uptime at the last check. A
# boot clears both, and so counts as activity.
set -eu
PROC=${PROC:-/proc}
RUN=${RUN:-/run/slipway}

main() {
    read -r now _ <"$PROC/uptime"
    now=${now%%.*}
    mkdir -p "$RUN"
    last=$(cat "$RUN/active" 2>/dev/null || true)
    looked=$(cat "$RUN/looked" 2>/dev/null || true)
    echo "$now" >"$RUN/looked"
    # A host that was suspended was not idle in that time: a user who resumes it wants to use it.
    if [ -z "$last" ] || [ $((now - ${looked:-$now})) -gt $((3 * $4)) ] ||
        runs_container || is_connected "$2" || has_local_client || is_logged_in || has_session; then
        echo "$now" >"$RUN/active"
        return
    fi
    [ $((now - last)) -ge "$1" ] || return 0
    message="Slipway: this machine, $3, powers off now: it has been idle for $((now - last)) s"
    echo "$message" >/dev/console 2>/dev/null || true
    if command -v wall >/dev/null; then wall "$message" 2>/dev/null || true; fi
    power_off
}

# Each container has a shim, which lives as long as the container; a build step has the runc that runs it. The kernel
# cuts names at 15 bytes.
runs_container() {
    find_processes 'containerd-shim*' >/dev/null || find_processes 'runc*' >/dev/null
}

# Prints the folders in PROC of the processes whose names match the pattern $1; fails where there are none.
find_processes() {
    found=1
    for folder in "$PROC"/[0-9]*; do
        # A process may end during the check.
        { read -r name <"$folder/comm"; } 2>/dev/null || continue
        # shellcheck disable=SC2254 # $1 is a pattern
        case $name in $1) ;; *) continue ;; esac
        found=0
        echo "$folder"
    done
    return $found
}

# In the kernel's table 01 is an established connection. The engine's clients, builds and attached terminals hold one.
is_connected() {
    port=$(printf '%04X' "$1")
    for table in "$PROC/net/tcp" "$PROC/net/tcp6"; do
        [ -r "$table" ] || continue
        while read -r _ local _ state _; do
            case $state:$local in 01:*:"$port") return 0 ;; esac
        done <"$table"
    done
    return 1
}

# In the kernel's table 03 is an established connection, here to the engine's own socket: a build, pull or push on this
# host.
has_local_client() {
    grep -q ' 03 *[0-9][0-9]* [^ ]*/docker\.sock$' "$PROC/net/unix" 2>/dev/null
}

# sshd names its processes, on any port: a connection that has not logged in yet ends with a bracket ("sshd: root
# [net]"), and the server itself begins with its path. So connections that never log in keep no host awake.
is_logged_in() {
    find_processes 'sshd*' >"$RUN/sshd" || return 1
    while read -r folder; do
        title=''
        { read -r title <"$folder/cmdline"; } 2>/dev/null || true
        case ${title#*: } in *] | /* | "$title") ;; *) return 0 ;; esac
    done <"$RUN/sshd"
    return 1
}

main "$@"

# Powers this host off once nothing has happened on it for $1 seconds: no container ran and none was built, nobody was connected to its
# engine (port $2, or its socket) and nobody was logged in. $3 is the machine's name. slipway-idle.timer runs it every $4 seconds.
# RUN/active holds the host's uptime at the last sign of life, RUN/looked at the last look. A boot forgets them, and so counts as one.
set -eu
PROC=${PROC:-/proc}
RUN=${RUN:-/run/slipway}
SESSIONS=${SESSIONS:-/run/systemd/sessions}

main() {
    read -r now _ <"$PROC/uptime"
    now=${now%%.*}
    mkdir -p "$RUN"
    last=$(cat "$RUN/active" 2>/dev/null || true)
    looked=$(cat "$RUN/looked" 2>/dev/null || true)
    echo "$now" >"$RUN/looked"
    # A host that was suspended has not been idle in that time: who resumed it wants it.
    if [ -z "$last" ] || [ $((now - ${looked:-$now})) -gt $((3 * $4)) ] ||
        runs_container || is_connected "$2" || is_asked_here || is_logged_in || has_session; then
        echo "$now" >"$RUN/active"
        return
    fi
    [ $((now - last)) -ge "$1" ] || return 0
    told="Slipway: nothing has happened on this machine, $3, for $((now - last)) s: it is powered off"
    echo "$told" >/dev/console 2>/dev/null || true
    if command -v wall >/dev/null; then wall "$told" 2>/dev/null || true; fi
    systemctl poweroff
}

# Each container has a shim, which lives as long as it does; a step of a build has the runc that runs it. The kernel cuts names at 15
# bytes.
runs_container() {
    names 'containerd-shim*' >/dev/null || names 'runc*' >/dev/null
}

# Fails where no process has such a name; prints the folders of those that have.
names() {
    found=1
    for folder in "$PROC"/[0-9]*; do
        # A process may end while it is looked at.
        { read -r name <"$folder/comm"; } 2>/dev/null || continue
        # shellcheck disable=SC2254 # it is a pattern
        case $name in $1) ;; *) continue ;; esac
        found=0
        echo "$folder"
    done
    return $found
}

# By the kernel's table: 01 is a connection that stands. The engine's clients, builds and attached terminals hold one.
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

# The engine's own socket, of which 03 is a connection that stands: a build, pull or push by somebody on this host.
is_asked_here() {
    grep -q ' 03 *[0-9][0-9]* [^ ]*/docker\.sock$' "$PROC/net/unix" 2>/dev/null
}

# By what sshd calls its processes, whatever its port: who has not logged in yet ends with a bracket ("sshd: root [net]"), and
# the server itself begins with its path. So those who only knock keep no host awake.
is_logged_in() {
    names 'sshd*' >"$RUN/sshd" || return 1
    while read -r folder; do
        title=''
        { read -r title <"$folder/cmdline"; } 2>/dev/null || true
        case ${title#*: } in *] | /* | "$title") ;; *) return 0 ;; esac
    done <"$RUN/sshd"
    return 1
}

# By what logind keeps of them: the console, and whatever else lets people in. Where a session is closing nobody is there any more.
has_session() {
    for session in "$SESSIONS"/*; do
        [ -f "$session" ] || continue
        grep -q '^CLASS=user\(-.*\)\{0,1\}$' "$session" 2>/dev/null || continue
        grep -q '^STATE=closing$' "$session" 2>/dev/null || return 0
    done
    return 1
}

main "$@"

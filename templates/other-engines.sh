# Prints what runs on the host in the place of the engine of the service `docker`, one line each:
# `other_engine ROLE PID USER UNIT PROGRAM`, with `-` for what is not known. ROLE: socket, for what serves the local
# socket; engine, for another engine that runs; snap, for one that is installed.
other_engines() {
    own=no others=
    for process in /proc/[0-9]*; do
        read -r name 2>/dev/null <"$process/comm" || continue
        case $name in dockerd | balenad | balena-engine-d* | com.docker.back*) ;; *) continue ;; esac
        # The service manager's answer saves the programs below.
        if [ "${process#/proc/}" = "${service_pid:-}" ]; then own=yes && continue; fi
        # An engine in a container is not the host's.
        if [ "$(readlink "$process/ns/pid")" != "$(readlink /proc/self/ns/pid)" ]; then continue; fi
        case $(unit_of "${process#/proc/}") in docker.service) own=yes ;; *) others="$others ${process#/proc/}" ;; esac
    done
    # The engine of the service serves the socket itself.
    if [ "$own" = yes ]; then return; fi
    socket_server
    for process in $others; do print_other_engine engine "$process"; done
    for folder in /snap/docker /var/lib/snapd/snap/docker; do
        if [ -e "$folder/current" ]; then echo 'other_engine snap - root snap.docker.dockerd.service docker'; fi
    done
}

# Prints the unit of a process; `user:UNIT` for one that a user's own service manager runs.
unit_of() {
    sed -n -e 's,.*/user@[0-9]*\.service/.*/\([^/]*\.[a-z]*\)$,user:\1,p;t' -e 's,.*/\([^/]*\.\(service\|scope\)\)$,\1,p' \
        "/proc/$1/cgroup" 2>/dev/null | head -n 1
}

print_other_engine() {
    unit=$(unit_of "$2")
    program=$(readlink "/proc/$2/exe") || program=-
    echo "other_engine $1 $2 $(stat -c %U "/proc/$2") ${unit:--} $program"
}

# Finds the listener of the local socket, which may be a link to another socket.
socket_server() {
    if [ ! -S /run/docker.sock ]; then return; fi
    target=$(readlink -f /run/docker.sock)
    inode=$(awk -v target="$target" '
        $4 == "00010000" && ($8 == target || $8 == "/run/docker.sock" || $8 == "/var/run/docker.sock") { inode = $7 }
        END { print inode }' /proc/net/unix)
    if [ -z "$inode" ]; then return; fi
    for process in $(open_by "$inode" '[0-9]*'); do
        if [ "$process" != 1 ]; then
            print_other_engine socket "$process"
            return
        fi
        unit=$(unit_of_socket "$target")
        # The service's own socket waits for its engine.
        if [ "$unit" != docker.socket ]; then echo "other_engine socket 1 root ${unit:--} ${unit:--}"; fi
    done
}

# Prints who listens on TCP port ENGINE_PORT in place of the engine: `port_holder PORT PID UNIT PROGRAM`, with `-` for
# what is not known. `service_pid` is the process of the engine's service, if it runs.
port_holder() {
    inodes=$(awk -v port="$(printf ':%04X' "$ENGINE_PORT")" '
        $4 == "0A" && substr($2, length($2) - 4) == port { print $10 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    for inode in $inodes; do
        if [ -n "$(open_by "$inode" "${service_pid:-none}")" ]; then continue; fi
        holder=1
        # The process that a service manager has given its socket to serves it.
        for process in $(open_by "$inode" '[0-9]*'); do
            if [ "$process" != 1 ]; then holder=$process; fi
        done
        unit=$(unit_of "$holder")
        read -r name 2>/dev/null <"/proc/$holder/comm" || name=-
        # An engine whose service starts it through another program.
        case $unit/$name in docker.service/dockerd) continue ;; esac
        if [ "$holder" = 1 ]; then unit=$(unit_of_socket ":$ENGINE_PORT") name=-; fi
        echo "port_holder $ENGINE_PORT $holder ${unit:--} $name"
        return
    done
}

# Prints the processes that have socket $1 open, among those that match $2.
open_by() {
    # shellcheck disable=SC2086 # a pattern
    find /proc/$2/fd -maxdepth 1 -lname "socket:\\[$1\\]" 2>/dev/null | cut -d / -f 3
}

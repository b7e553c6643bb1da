# Prints what runs on the host in the place of the engine of the service `docker`, one line each:
# `other_engine ROLE PID USER UNIT PROGRAM`, with `-` for what is not known. ROLE: socket, for what serves the local
# socket; engine, for another engine that runs; snap, for one that is installed.
other_engines() {
    own=no others=
    for process in /proc/[0-9]*; do
        read -r name 2>/dev/null <"$process/comm" || continue
        case $name in dockerd | balenad | balena-engine-d* | com.docker.back*) ;; *) continue ;; esac
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
    # shellcheck disable=SC2044 # no path here contains a space
    for open in $(find /proc/[0-9]*/fd -maxdepth 1 -lname "socket:\\[$inode\\]" 2>/dev/null); do
        process=${open#/proc/}
        process=${process%%/*}
        if [ "$process" != 1 ]; then
            print_other_engine socket "$process"
            return
        fi
        unit=$(unit_of_socket "$target")
        # The service's own socket waits for its engine.
        if [ "$unit" != docker.socket ]; then echo "other_engine socket 1 root ${unit:--} ${unit:--}"; fi
    done
}

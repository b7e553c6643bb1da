# Prints the unit that listens on the socket $1.
unit_of_socket() {
    systemctl list-sockets --no-legend --no-pager 2>/dev/null | awk -v path="$1" '$1 == path { print $2; exit }'
}

# Prints the facts about the engine's service and adds this service manager's own paths to `files`.
facts_of_systemd() {
    files="$files /etc/systemd/system/docker.service.d/zz-slipway.conf /etc/systemd/system/docker.service.d/~zz-slipway.conf
        /etc/systemd/system/docker.service.d/50-slipway.conf /etc/systemd/system/docker.service.d/10-machine.conf
        /etc/systemd/system/timers.target.d/slipway.conf
        /etc/systemd/system/slipway-deadline.* /etc/systemd/system/slipway-idle.*"
    if [ ! -d /run/systemd/system ]; then return; fi
    echo 'service_manager systemd'
    state=$(systemctl show docker.service docker.socket --property ActiveState --property UnitFileState \
        --property MainPID --property Listen)
    # The units are separated by an empty line.
    service=$(echo "$state" | sed '/^$/,$d')
    pid=
    case $service in
        *ActiveState=active*)
            echo 'engine_active yes'
            # Meanwhile, the other facts are gathered. A stopped engine is not asked, since that would start it.
            local_engine >&3 &
            pid=$(echo "$service" | sed -n 's/^MainPID=//p')
            ;;
    esac
    open_addresses "${pid:-0}" >&3 &
    case $service in *UnitFileState=enabled*) echo 'engine_enabled yes' ;; esac
    echo "$state" | sed -n 's/^Listen=\(.*\) (Stream)$/engine_socket \1/p'
    command_of_systemd
    if [ -n "$pid" ]; then
        engine_argv "$pid"
        engine_variables "$pid"
    fi
}

# Prints what the engine's command line follows from at its next start. Needs no root.
command_of_systemd() {
    if [ ! -d /run/systemd/system ]; then return; fi
    definition=$(engine_definition)
    echo "engine_definition $(printf '%s\n' "$definition" | base64 -w 0)"
    environment_files
    # The service manager created the socket, and its file was removed or replaced since.
    if [ ! -S /run/docker.sock ] && systemctl is-active --quiet docker.socket &&
        systemctl show docker.socket --property Listen | grep -q '/run/docker\.sock'; then
        echo 'local_socket missing'
    fi
}

# Prints, as one short line, whether the engine answers on its local socket, and with what.
local_engine() {
    # An engine that takes long, because its host is busy, has not lost its socket.
    info=$(engine_info 30)
    case $info in
        '') echo 'local_engine silent' ;;
        *)
            echo "local_engine $(echo "$info" | grep -oE '"(ContainersRunning|ContainersPaused)":[0-9]+|"LiveRestoreEnabled":(true|false)|"LocalNodeState":"[a-z]*"|"ServerVersion":"[^"]*"' | tr -d '"' | tr '\n' ' ')"
            ;;
    esac
}

# Prints the service's and the socket's files as systemd will read them next time. It shows the files that it has read,
# which lack a drop-in that was added since, and can have one that was removed.
engine_definition() {
    if shown=$(systemctl cat docker.service docker.socket 2>/dev/null) && has_read_all_files; then
        echo "$shown"
        return
    fi
    systemctl cat docker.socket 2>/dev/null || true
    systemd-analyze cat-config systemd/system/docker.service 2>/dev/null || true
}

has_read_all_files() {
    for folder in /etc /run /usr/local/lib /usr/lib; do
        for file in "$folder"/systemd/system/docker.service.d/*.conf; do
            [ -e "$file" ] || continue
            echo "$shown" | grep -q "^# /.*/docker\.service\.d/${file##*/}\$" || return
        done
    done
}

# Prints the files that set variables of the service, except for Slipway's own.
environment_files() {
    printf '%s\n' "$definition" | sed -n 's/^[[:space:]]*EnvironmentFile[[:space:]]*=[[:space:]]*-\{0,1\}//p' |
        while read -r file; do
            case $file in /etc/docker/slipway/*) continue ;; esac
            if [ -r "$file" ]; then echo "environment_file $file $(base64 -w 0 <"$file")"; fi
        done
}

# Prints the command line of the running engine.
engine_argv() {
    if [ -r "/proc/$1/cmdline" ]; then echo "engine_argv $(base64 -w 0 <"/proc/$1/cmdline")"; fi
}

# Prints the variables on the service's command line as the running engine got them.
engine_variables() {
    [ -r "/proc/$1/environ" ] || return 0
    # shellcheck disable=SC2016 # looks for variables
    names=$(printf '%s\n' "$definition" | grep -o '\${\{0,1\}[A-Za-z_][A-Za-z0-9_]*' | tr -d '${' | sort -u)
    for name in $names; do
        value=$(tr '\0' '\n' <"/proc/$1/environ" | grep -a "^$name=") || continue
        echo "engine_variable $(printf '%s' "$value" | base64 -w 0)"
    done
}

# Prints the unit that listens on the path $1, or on the TCP port $1 (`:80`).
unit_of_socket() {
    systemctl list-sockets --no-legend --no-pager 2>/dev/null | awk -v path="$1" '
        $1 == path || (path ~ /^:/ && substr($1, length($1) - length(path) + 1) == path) { print $2; exit }'
}

# Prints the facts about the engine's service and adds this service manager's own paths to `files`.
facts_of_systemd() {
    files="$files /etc/systemd/system/docker.service.d/zz-slipway.conf /etc/systemd/system/docker.service.d/~zz-slipway.conf
        /etc/systemd/system/docker.service.d/50-slipway.conf /etc/systemd/system/docker.service.d/10-machine.conf
        /etc/systemd/system/timers.target.d/slipway.conf
        /etc/systemd/system/slipway-deadline.* /etc/systemd/system/slipway-idle.*"
    if [ ! -d /run/systemd/system ]; then return; fi
    echo 'service_manager systemd'
    read_units
    if [ "$service_state" = active ]; then
        echo 'engine_active yes'
        # Meanwhile, the other facts are gathered. A stopped engine is not asked, since that would start it.
        local_engine >&3 &
    else
        service_pid=
    fi
    open_addresses "${service_pid:-0}" >&3 &
    port_holder >&3 &
    case $service_file_state in enabled*) echo 'engine_enabled yes' ;; esac
    for unit in $masked_units; do echo "masked_unit ${unit%:*} ${unit##*:}"; done
    printf '%s' "$listeners" | sed -n 's/\(.*\) (Stream)$/engine_socket \1/p'
    print_command
    if [ -n "$service_pid" ]; then
        engine_argv "$service_pid"
        engine_variables "$service_pid"
    fi
}

# Prints what the engine's command line follows from at its next start. Needs no root.
command_of_systemd() {
    if [ ! -d /run/systemd/system ]; then return; fi
    read_units
    print_command
    # The service manager created the socket, and its file was removed or replaced since.
    if [ ! -S /run/docker.sock ] && [ "$socket_state" = active ]; then
        case $listeners in */run/docker.sock*) echo 'local_socket missing' ;; esac
    fi
}

print_command() {
    definition=$(engine_definition)
    if [ -z "$definition" ]; then return; fi
    echo "engine_definition $(printf '%s\n' "$definition" | base64 -w 0)"
    environment_files
}

# Asks systemd once for all that the facts need of the engine's units, since each call takes longer than a program.
read_units() {
    service_state='' service_file_state='' service_pid='' socket_state='' listeners='' masked_units='' unit_files=''
    is_current=yes
    set -- docker.service docker.socket containerd.service
    state=$(systemctl show "$@" --property ActiveState --property UnitFileState --property MainPID \
        --property Listen --property FragmentPath --property DropInPaths --property NeedDaemonReload 2>/dev/null)
    while IFS='=' read -r key value; do
        case ${1-}.$key in
            # An empty line separates the units.
            *.) if [ $# -gt 0 ]; then shift; fi ;;
            # Also of a unit that was masked by hand, which systemd has not read yet.
            *.UnitFileState)
                case $value in masked*) masked_units="$masked_units $1:$value" ;; esac
                if [ "$1" = docker.service ]; then service_file_state=$value; fi
                ;;
            containerd.service.*) ;;
            docker.service.ActiveState) service_state=$value ;;
            docker.service.MainPID) service_pid=$value ;;
            docker.socket.ActiveState) socket_state=$value ;;
            docker.socket.Listen) listeners=$listeners$value$newline ;;
            # Drop-ins of a service without a file of its own are not listed.
            docker.service.FragmentPath) if [ -n "$value" ]; then unit_files=$value; else is_current=no; fi ;;
            *.FragmentPath | *.DropInPaths) unit_files="$unit_files $value" ;;
            *.NeedDaemonReload) if [ "$value" = yes ]; then is_current=no; fi ;;
        esac
    done <<UNITS
$state
UNITS
}

newline='
'

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

# Prints the service's and the socket's files as systemd will read them next time. The paths are those of the files that
# it has read; it says if a drop-in was added or removed since.
engine_definition() {
    if [ "$is_current" = yes ]; then
        # shellcheck disable=SC2086 # a list of files
        awk 'FNR == 1 { print (NR > 1 ? "\n" : "") "# " FILENAME } { print }' $unit_files 2>/dev/null && return
    fi
    systemctl cat docker.socket 2>/dev/null || true
    systemd-analyze cat-config systemd/system/docker.service 2>/dev/null || true
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

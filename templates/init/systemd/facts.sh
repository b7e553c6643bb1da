# Prints the unit that listens on the socket $1.
unit_of_socket() {
    systemctl list-sockets --no-legend --no-pager 2>/dev/null | awk -v path="$1" '$1 == path { print $2; exit }'
}

# Prints the facts about the engine's service and adds this service manager's own paths to `files`.
facts_of_systemd() {
    files="$files /etc/systemd/system/docker.service.d/50-slipway.conf /etc/systemd/system/docker.service.d/10-machine.conf
        /etc/systemd/system/timers.target.d/slipway.conf
        /etc/systemd/system/slipway-deadline.* /etc/systemd/system/slipway-idle.*"
    if [ ! -d /run/systemd/system ]; then return; fi
    echo 'service_manager systemd'
    if [ "$(systemctl is-active docker.service)" = active ]; then echo 'engine_active yes'; fi
    if [ "$(systemctl is-enabled docker.service 2>/dev/null)" = enabled ]; then echo 'engine_enabled yes'; fi
    echo "engine_definition $(systemctl cat docker.service 2>/dev/null | base64 -w 0)"
}

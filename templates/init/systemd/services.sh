# The functions with which the scripts of steps act on services. Joined before such a script.

# systemd reads unit files only when it is told to.
reload_definitions() {
    systemctl daemon-reload
}

# Starts the engine, or restarts one that runs.
start_engine() {
    socket=$(lost_socket)
    systemctl restart ${socket:+"$socket"} docker.service
}

# Prints docker.socket if the unit has to create its socket again. An engine that listens on the same path itself,
# because its configuration says so or names no socket at all, replaces the unit's socket and deletes its own when it
# ends; clients on the host could then no longer reach the engine.
lost_socket() {
    systemctl is-active --quiet docker.socket || return 0
    if [ ! -S /run/docker.sock ] || [ "$(count_local_listeners)" != 1 ]; then echo docker.socket; fi
}

# The flags of a socket that listens are 00010000. A socket whose file was replaced still listens.
count_local_listeners() {
    awk '$4 == "00010000" && $8 ~ "^/(var/)?run/docker[.]sock$"' /proc/net/unix | wc -l
}

# systemd restarts a failed engine by itself, so one that must not come back has to be stopped.
stop_engine() {
    systemctl stop docker.service docker.socket 2>/dev/null || true
}

is_engine_active() {
    systemctl is-active --quiet docker.service
}

enable_engine() {
    systemctl enable --quiet docker.service
}

disable_engine() {
    systemctl disable --quiet docker.service
}

enable_and_start_engine() {
    systemctl enable --quiet --now docker.service
}

# The unit allows three starts within a minute, which is meant for an engine that keeps crashing. Starts that Slipway
# requests must not count.
forget_failed_starts() {
    systemctl reset-failed docker.service docker.socket 2>/dev/null || true
}

# Prints 0 if no engine runs.
engine_pid() {
    systemctl show --property MainPID --value docker.service
}

print_engine_log() {
    journalctl -u docker.service -n 15 --no-pager -o cat
}

# Tells whether a folder is one that only Slipway may use, so that it can be deleted with its last file.
is_definition_folder() {
    case $1 in
        */docker.service.d | */timers.target.d) return 0 ;;
        *) return 1 ;;
    esac
}

all_timers() {
    echo 'slipway-deadline.timer slipway-idle.timer'
}

stop_timer() {
    systemctl stop "$1" 2>/dev/null || true
}

# Restarts a running timer, so that it uses its new times.
start_timer() {
    systemctl restart "$1"
}

reboot_soon() {
    systemd-run --quiet --on-active=1 --timer-property=AccuracySec=100ms systemctl reboot
}

reload_ssh_server() {
    for unit in ssh.service sshd.service; do
        if systemctl is-active --quiet "$unit"; then
            systemctl reload "$unit" && return
        fi
    done
    # With socket activation each connection has a server of its own, which reads the key then.
    for unit in ssh.socket sshd.socket; do
        if systemctl is-active --quiet "$unit"; then return; fi
    done
    return 1
}

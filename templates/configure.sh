# Lays files in their places, each whole or not at all, and lets a running engine read them.
# MANIFEST: lines of `mode staged-name path`. Mode `-` takes the file away; mode `=` keeps the mode that it has, 644 for a
# new one. Staged files lie in ./files.
# ENGINE: restart, start, later (the package of another version will restart it) or none (there is no engine yet; its
# package will start it). ENABLE: yes, to start with the host.

main() {
    LC_ALL=C
    export LC_ALL
    mkdir backup
    # Only these two can run out of space, and when they do nothing has changed yet.
    each keep_one || { why 'the files that are there could not be kept aside'; exit 1; }
    each stage_one || { why 'the files could not be written'; each unstage_one; exit 1; }
    if [ "$ENGINE" = restart ] || [ "$ENGINE" = later ]; then
        # /run forgets it with the boot, and a boot makes the restart needless. An installation that fails leaves it, and
        # so does not leave an engine that never reads what was laid.
        mkdir -p /run/slipway
        : >/run/slipway/restart-pending
    fi
    each move_one || { why 'the files could not be moved into place'; each undo_one; exit 1; }
    systemctl daemon-reload
    case $ENGINE in
        restart) restart_or_undo ;;
        start) systemctl start docker.service || { why 'docker.service could not be started'; exit 1; } ;;
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
    # Three starts within a minute are all that the unit allows; ours is not one of the failing kind.
    systemctl reset-failed docker.service docker.socket 2>/dev/null || true
    if systemctl restart docker.service; then
        rm -f /run/slipway/restart-pending
        return
    fi
    journalctl -u docker.service -n 15 --no-pager -o cat >&2 || true
    each undo_one || { why 'the engine did not start with the new configuration, and the old one could not be put back'; exit 1; }
    systemctl daemon-reload
    systemctl reset-failed docker.service docker.socket 2>/dev/null || true
    if systemctl restart docker.service; then
        rm -f /run/slipway/restart-pending
        why 'the engine did not start with the new configuration, so the old one was put back'
    else
        why 'the engine did not start with the new configuration, nor with the old one'
    fi
    exit 1
}

main

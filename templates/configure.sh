# Lays files in their places, each whole or not at all, and lets a running engine read them.
# MANIFEST: lines of `mode staged-name path`. Mode `-` takes the file away; mode `=` keeps the mode that it has, 644 for a
# new one. Staged files lie in ./files.
# ENGINE: restart, start, later (the package of another version will restart it) or none (there is no engine yet; its
# package will start it).

main() {
    LC_ALL=C
    export LC_ALL
    mkdir backup
    if [ "$ENGINE" = restart ] || [ "$ENGINE" = later ]; then
        # /run forgets it with the boot, and a boot makes the restart needless.
        mkdir -p /run/slipway
        : >/run/slipway/restart-pending
    fi
    stage_beside || { why 'the files could not be written'; undo; exit 1; }
    move_in || { why 'the files could not be moved into place'; undo; exit 1; }
    systemctl daemon-reload
    case $ENGINE in
        restart) restart_or_undo ;;
        start) systemctl enable --quiet --now docker.service ;;
    esac
    # An installation that fails must not leave an engine that never reads what was laid.
    [ "$ENGINE" = later ] || rm -f /run/slipway/restart-pending
}

why() {
    echo "!! $1" >&2
}

each() {
    printf '%s\n' "$MANIFEST" | while read -r mode name path; do
        [ -z "$path" ] || "$1" "$mode" "$name" "$path" || exit 1
    done
}

# Written beside its place first: only this can run out of space, and then nothing has changed yet.
stage_beside() {
    each stage_one
}

stage_one() {
    if [ -e "$3" ]; then cp -p "$3" "backup/$2"; fi
    [ "$1" != - ] || return 0
    mkdir -p "$(dirname "$3")"
    mode=$1
    [ "$mode" != = ] || mode=$(stat -c %a "$3" 2>/dev/null || echo 644)
    (umask 077 && cp "files/$2" "$3.slipway-new") && chmod "$mode" "$3.slipway-new" && sync "$3.slipway-new"
}

move_in() {
    each move_one
}

move_one() {
    if [ "$1" = - ]; then rm -f "$3"; else mv -f "$3.slipway-new" "$3"; fi
}

undo() {
    each undo_one
    rm -f /run/slipway/restart-pending
}

undo_one() {
    rm -f "$3.slipway-new"
    if [ -e "backup/$2" ]; then cp -p "backup/$2" "$3"; else rm -f "$3"; fi
}

restart_or_undo() {
    # Three starts within a minute are all that the unit allows; ours is not one of the failing kind.
    systemctl reset-failed docker.service docker.socket 2>/dev/null || true
    systemctl enable --quiet docker.service
    if systemctl restart docker.service; then return 0; fi
    journalctl -u docker.service -n 15 --no-pager -o cat >&2 || true
    undo
    systemctl daemon-reload
    systemctl reset-failed docker.service docker.socket 2>/dev/null || true
    if systemctl restart docker.service; then
        why 'the engine did not start with the new configuration, so the old one was put back'
    else
        why 'the engine did not start with the new configuration, nor with the old one'
    fi
    exit 1
}

main

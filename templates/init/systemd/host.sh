# The functions with which the scripts that stay on the host act on it. Joined before such a script.

power_off() {
    systemctl poweroff
}

# True while a user is logged in, at the console or in any other way, by what logind records. A session that is closing
# has no user.
has_session() {
    for session in "${SESSIONS:-/run/systemd/sessions}"/*; do
        [ -f "$session" ] || continue
        grep -q '^CLASS=user\(-.*\)\{0,1\}$' "$session" 2>/dev/null || continue
        grep -q '^STATE=closing$' "$session" 2>/dev/null || return 0
    done
    return 1
}

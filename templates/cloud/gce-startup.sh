# Runs as root at every boot of a Compute Engine instance, behind three lines that set HOST_KEY, HOST_KEY_PUBLIC and
# THEIRS, each packed by base64. THEIRS may be empty.
set -u
PATH=$PATH:/usr/sbin:/sbin
state=/var/lib/slipway
mkdir -p "$state"

# Once: this key is good for a first visit, and the one that replaces it must stay.
if [ ! -e "$state/host-key-laid" ]; then
    key=/etc/ssh/ssh_host_ed25519_key
    umask 077
    printf '%s' "$HOST_KEY" | base64 -d >"$key.slipway"
    printf '%s' "$HOST_KEY_PUBLIC" | base64 -d >"$key.pub.slipway"
    chmod 644 "$key.pub.slipway"
    mv -f "$key.slipway" "$key"
    mv -f "$key.pub.slipway" "$key.pub"
    umask 022
    sync
    : >"$state/host-key-laid"
    systemctl try-reload-or-restart ssh.service sshd.service 2>/dev/null || true
fi
unset HOST_KEY HOST_KEY_PUBLIC

# Containers are kept from the metadata server, which hands out tokens and this very script; names they may ask of it.
# What the machine itself sends has no incoming interface but lo, what containers send has theirs.
metadata=169.254.169.254
rule() {
    ip rule show priority "$1" 2>/dev/null | grep -q . || ip rule add priority "$@"
}
rule 90 to "$metadata" iif lo lookup main
rule 91 to "$metadata" ipproto udp dport 53 lookup main
rule 92 to "$metadata" ipproto tcp dport 53 lookup main
rule 93 to "$metadata" prohibit

if [ -n "$THEIRS" ]; then
    theirs=$(mktemp "$state/startup.XXXXXX")
    printf '%s' "$THEIRS" | base64 -d >"$theirs"
    chmod 700 "$theirs"
    "$theirs"
    status=$?
    rm -f "$theirs"
    exit "$status"
fi

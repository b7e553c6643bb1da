# Runs as root at every boot of a Compute Engine instance, after lines that set HOST_KEY, HOST_KEY_PUBLIC, FIRST_BOOT
# and USER_SCRIPT in base64. FIRST_BOOT and USER_SCRIPT may be empty.
set -u
PATH=$PATH:/usr/sbin:/sbin
state=/var/lib/slipway
mkdir -p "$state"

# Installs the bootstrap host key, but only once: later boots must keep the key that has replaced it.
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

# Writes and starts the timers with which this machine ends or stops by itself, but only once: later boots must keep
# the times that have replaced them.
if [ -n "$FIRST_BOOT" ] && [ ! -e "$state/first-boot-done" ]; then
    script=$(mktemp "$state/first-boot.XXXXXX")
    printf '%s' "$FIRST_BOOT" | base64 -d >"$script"
    if sh "$script"; then : >"$state/first-boot-done"; fi
    rm -f "$script"
fi

# Keeps containers from the metadata server, which hands out tokens and this script, but lets them use its DNS. Packets
# of the machine itself come in on lo, and those of containers on their own interfaces.
metadata=169.254.169.254
rule() {
    ip rule show priority "$1" 2>/dev/null | grep -q . || ip rule add priority "$@"
}
rule 90 to "$metadata" iif lo lookup main
rule 91 to "$metadata" ipproto udp dport 53 lookup main
rule 92 to "$metadata" ipproto tcp dport 53 lookup main
rule 93 to "$metadata" prohibit

if [ -n "$USER_SCRIPT" ]; then
    script=$(mktemp "$state/startup.XXXXXX")
    printf '%s' "$USER_SCRIPT" | base64 -d >"$script"
    chmod 700 "$script"
    "$script"
    status=$?
    rm -f "$script"
    exit "$status"
fi

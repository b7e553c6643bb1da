# Gives the SSH server its permanent host key (files/0 private, files/1 public) in place of the bootstrap host key of
# its user data. Runs in the folder that holds files/.
set -eu
PATH=$PATH:/usr/sbin:/sbin

key=$(sshd -T 2>/dev/null | sed -n 's/^hostkey \(.*ed25519.*\)/\1/p' | head -n 1)
key=${key:-/etc/ssh/ssh_host_ed25519_key}

# The private half first: the server reads both when it is reloaded, and not before.
install -m 600 files/0 "$key.slipway"
mv -f "$key.slipway" "$key"
install -m 644 files/1 "$key.pub.slipway"
mv -f "$key.pub.slipway" "$key.pub"
sync "$key" "$key.pub"

if ! reload_ssh_server; then
    echo '!! the SSH server could not be reloaded with its new host key' >&2
    exit 1
fi

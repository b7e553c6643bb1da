# Gives the SSH server its lasting host key (files/0 private, files/1 public) in place of the one that it was born with.
# Runs in the folder that holds files/.
set -eu
PATH=$PATH:/usr/sbin:/sbin

key=$(sshd -T 2>/dev/null | sed -n 's/^hostkey \(.*ed25519.*\)/\1/p' | head -n 1)
key=${key:-/etc/ssh/ssh_host_ed25519_key}

# The private half first: the server reads both when it is told to, and not before.
install -m 600 files/0 "$key.slipway"
mv -f "$key.slipway" "$key"
install -m 644 files/1 "$key.pub.slipway"
mv -f "$key.pub.slipway" "$key.pub"
sync "$key" "$key.pub"

for unit in ssh.service sshd.service; do
    if systemctl is-active --quiet "$unit"; then
        systemctl reload "$unit" && exit 0
    fi
done
# Under socket activation each connection has a server of its own, which reads the key then.
for unit in ssh.socket sshd.socket; do
    if systemctl is-active --quiet "$unit"; then exit 0; fi
done
echo '!! its SSH server could not be told to read its new host key' >&2
exit 1

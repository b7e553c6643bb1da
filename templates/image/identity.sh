#!/bin/sh
# Creates the user, which a tar can't. Runs once in the machine's root, before its init. The files /etc/slipway/user
# (the user's name) and /etc/slipway/authorized_keys come from the seed.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
user=$(cat /etc/slipway/user)
groups=$(grep -o -x -e 'sudo:.*' -e 'docker:.*' /etc/group | cut -d: -f1 | paste -sd,)
if ! grep -q "^$user:" /etc/passwd; then
    # A group of that name may exist, such as docker.
    if grep -q "^$user:" /etc/group; then set -- --gid "$user"; else set -- --user-group; fi
    useradd --create-home "$@" --groups "$groups" --shell /bin/bash --password '*' "$user" || exit 1
else
    usermod --append --groups "$groups" "$user" || exit 1
fi
home=$(grep "^$user:" /etc/passwd | cut -d: -f6)
umask 077
mkdir -p "$home/.ssh"
cp /etc/slipway/authorized_keys "$home/.ssh/authorized_keys"
chown -R "$user:" "$home/.ssh" || exit 1
if [ "$user" != root ]; then
    echo "$user ALL=(ALL:ALL) NOPASSWD: ALL" >/etc/sudoers.d/slipway
    chmod 440 /etc/sudoers.d/slipway
fi

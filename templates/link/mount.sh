# Usage: mount.sh run|wait|clean|remove ID
# Mounts a folder of the computer here with sshfs: `run` until it is unmounted, `wait` until it is mounted. `clean`
# unmounts what a killed sshfs has left, and `remove` deletes the folder beneath, too. /etc/slipway/mounts/ID has the
# variables folder, options, wait_seconds and group.
set -u
command=$1
id=$2
LIBRARY=${LIBRARY:-/usr/local/lib/slipway}
MOUNTS=${MOUNTS:-/etc/slipway/mounts}
RUN=${RUN:-/run/slipway}
folder='' options='' wait_seconds=30 group=''
# shellcheck source=/dev/null
. "$MOUNTS/$id" || exit 1

fail() {
    echo "$*" >&2
    exit 1
}

# The kernel writes some characters of a path as octal numbers.
is_mounted() {
    written=$(printf '%s\n' "$folder" | sed 's/\\/\\134/g; s/ /\\040/g; s/	/\\011/g')
    # Not mountpoint(1): it asks the mounted folder, and waits for the computer.
    grep -qF " $written fuse.sshfs " /proc/self/mounts
}

unmount_leftover() {
    while is_mounted; do umount -l "$folder" || return 1; done
}

# A folder that can't be changed: without a mount, Docker would create folders here, and containers would write beside
# the user's files. Not every file system can do it.
prepare_folder() {
    if mkdir -p "$folder" 2>/dev/null && [ -d "$folder" ]; then
        [ -z "$(ls -A "$folder")" ] || fail "$folder is not empty on this machine, so nothing is mounted over it"
        chattr +i "$folder" 2>/dev/null || :
    else
        fail "$folder can't be created on this machine"
    fi
}

# Newer versions refuse links with `..` unless they are told otherwise, and node_modules/.bin is full of them. Older
# versions do not know the option.
link_option() {
    if sshfs --help 2>&1 | grep -q no_contain_symlinks; then printf ,no_contain_symlinks; fi
}

case $command in
run)
    command -v sshfs >/dev/null || fail 'sshfs is not installed on this machine'
    unmount_leftover || fail "$folder can't be unmounted"
    prepare_folder
    export SLIPWAY_SOCKET="$RUN/mount-$id.sock" SLIPWAY_WAIT_SECONDS="$wait_seconds" SLIPWAY_SOCKET_GROUP="$group"
    # Without the check, the mount does not wait for the computer. dcache_timeout: a new file is seen after a second.
    exec sshfs -f -o "ssh_command=perl $LIBRARY/dial.pl,allow_other,no_check_root,dcache_timeout=1" \
        -o "max_read=65536,max_write=65536,fsname=slipway$(link_option)${options:+,$options}" \
        "slipway:$folder" "$folder"
    ;;
wait)
    for _ in $(seq 300); do
        if is_mounted; then exit 0; fi
        sleep 0.1
    done
    fail "$folder was not mounted within 30 seconds"
    ;;
clean)
    unmount_leftover
    rm -f "$RUN/mount-$id.sock"
    ;;
remove)
    unmount_leftover || fail "$folder can't be unmounted"
    chattr -i "$folder" 2>/dev/null
    rmdir "$folder" 2>/dev/null
    rm -f "$MOUNTS/$id"
    ;;
esac

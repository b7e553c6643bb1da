#!/bin/sh
# Grows the root partition to the size of the disk, which is larger than the image's.
partition=$(findmnt --noheadings --output SOURCE /)
[ "$partition" != /dev/root ] || partition=$(readlink -f "/dev/block/$(mountpoint -d /)")
number=$(cat "/sys/class/block/${partition##*/}/partition" 2>/dev/null) || exit 0
disk=$(basename "$(dirname "$(readlink -f "/sys/class/block/${partition##*/}")")")
growpart "/dev/$disk" "$number" >/dev/null
# growpart exits with 1 where the partition fills the disk already.
[ $? -le 1 ]

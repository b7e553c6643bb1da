#!/bin/sh
# Lets the root partition fill the disk, which is larger than the image's was.
partition=$(findmnt --noheadings --output SOURCE /)
[ "$partition" != /dev/root ] || partition=$(readlink -f "/dev/block/$(mountpoint -d /)")
number=$(cat "/sys/class/block/${partition##*/}/partition" 2>/dev/null) || exit 0
disk=$(basename "$(dirname "$(readlink -f "/sys/class/block/${partition##*/}")")")
growpart "/dev/$disk" "$number" >/dev/null
# 1: it fills the disk already.
[ $? -le 1 ]

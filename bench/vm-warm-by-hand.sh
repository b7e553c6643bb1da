#!/usr/bin/env bash
# vm-warm-by-hand.sh SPARE_FOLDER IMAGE_FOLDER WORK_FOLDER [ACCELERATOR]: the script that you would write without
# Slipway to resume a suspended VM: QEMU reads the memory of the spare and resumes it, and the script requests the
# engine's /version over mutual TLS until it answers. The VM is killed at exit, and the spare is unchanged. WORK_FOLDER
# contains ca.pem cert.pem key.pem of that spare.
set -euo pipefail
spare=$(realpath "$1") image=$(realpath "$2") work=$(realpath "$3") accelerator=${4:-tcg}
[[ $accelerator == tcg ]] && cpu=max accel=tcg,thread=multi || cpu=host accel=$accelerator
case $(uname -m) in
  aarch64) program=qemu-system-aarch64 machine=virt,gic-version=max console=ttyAMA0 genid=() ;;
  *) program=qemu-system-x86_64 machine=q35,usb=off,vmport=off console=ttyS0 genid=(-device "vmgenid,guid=auto") ;;
esac
[[ $program-$cpu != qemu-system-aarch64-max ]] || cpu=max,pauth-impdef=on
ssh=$((20000 + RANDOM % 6000 * 2)) engine=$((ssh + 1))

stage=$(mktemp -d)
qemu=''
trap '[[ -z $qemu ]] || kill -KILL "$qemu"; rm -rf "$stage"' EXIT
cd "$stage"
cp "$spare/disk.qcow2" disk.qcow2
truncate -s 24576 seed.tar
mkfifo monitor

kernel_arguments="root=/dev/vda console=$console net.ifnames=0 loglevel=4 panic=5 systemd.show_status=true systemd.getty_auto=0 TERM=dumb"
"$program" -name byhand -machine "$machine" -accel "$accel" -cpu "$cpu" -smp 2 -m 2048M \
  -nodefaults -no-user-config -display none -kernel "$image/vmlinuz" -initrd "$image/initrd" -append "$kernel_arguments" \
  -drive file=disk.qcow2,format=qcow2,if=none,id=root,discard=unmap,detect-zeroes=unmap \
  -device virtio-blk-pci,drive=root,serial=slipway-root \
  -drive file=seed.tar,format=raw,if=none,id=seed,readonly=on \
  -device virtio-blk-pci,drive=seed,serial=slipway-seed \
  -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$ssh-:22,hostfwd=tcp:127.0.0.1:$engine-:2376" \
  -device virtio-net-pci,netdev=net -device virtio-rng-pci \
  -chardev file,id=console,path=console.log -serial chardev:console \
  -chardev socket,id=port,path=port.sock,server=on,wait=off \
  -device virtio-serial-pci -device virtconsole,chardev=port "${genid[@]}" \
  -incoming "exec:zstd -dcq $spare/memory" -monitor stdio <monitor >monitor.log 2>qemu.log &
qemu=$!
exec 3>monitor
alive() {
  kill -0 "$qemu" || { qemu='' && cat qemu.log >&2 && exit 1; }
}

# The VM was saved while it was stopped. `cont` resumes it once its memory is read; earlier requests would hang.
until grep -q 'VM status: running' monitor.log; do
  alive
  printf 'cont\ninfo status\n' >&3
  sleep 0.05
done
until curl -sf --max-time 10 --cacert "$work/ca.pem" --cert "$work/cert.pem" --key "$work/key.pem" \
  "https://127.0.0.1:$engine/version" >/dev/null; do
  alive
  sleep 0.1
done

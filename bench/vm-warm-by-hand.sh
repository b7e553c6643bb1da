#!/usr/bin/env bash
# vm-warm-by-hand.sh SPARE_FOLDER IMAGE_FOLDER WORK_FOLDER [ACCELERATOR]: the script that you would write without
# Slipway to resume a spare, a VM that was started ahead and suspended. It starts QEMU with a copy of the spare's disk
# and its saved memory, resumes the VM, and requests the engine's /version over mutual TLS until it answers. The VM is
# killed at exit, and the spare is unchanged. WORK_FOLDER contains the spare's ca.pem, cert.pem and key.pem.
set -euo pipefail
spare=$(realpath "$1") image=$(realpath "$2") work=$(realpath "$3") accelerator=${4:-tcg}
[[ $accelerator == tcg ]] && cpu=max accel=tcg,thread=multi || cpu=host accel=$accelerator
case $(uname -m) in
  aarch64) program=qemu-system-aarch64 machine=virt,gic-version=max console=ttyAMA0 genid=() ;;
  *) program=qemu-system-x86_64 machine=q35,usb=off,vmport=off console=ttyS0 genid=(-device "vmgenid,guid=auto") ;;
esac
[[ $program-$cpu != qemu-system-aarch64-max ]] || cpu=max,pauth-impdef=on
ssh_port=$((20000 + RANDOM % 6000 * 2)) engine_port=$((ssh_port + 1))

stage=$(mktemp -d)
qemu=''
trap '[[ -z $qemu ]] || kill -KILL "$qemu"; rm -rf "$stage"' EXIT
cd "$stage"
cp "$spare/disk.qcow2" disk.qcow2
# The guest has applied its seed, but to resume it QEMU needs a disk of the same size.
truncate -s 24576 seed.tar
mkfifo monitor

# QEMU resumes a VM only with the hardware that it had: src/drivers/qemu/command-line.ts has the same arguments.
kernel_arguments="root=/dev/vda console=$console net.ifnames=0 loglevel=4 panic=5 systemd.show_status=true systemd.getty_auto=0 TERM=dumb"
"$program" -name byhand -machine "$machine" -accel "$accel" -cpu "$cpu" -smp 2 -m 2048M \
  -nodefaults -no-user-config -display none -kernel "$image/vmlinuz" -initrd "$image/initrd" -append "$kernel_arguments" \
  -drive file=disk.qcow2,format=qcow2,if=none,id=root,discard=unmap,detect-zeroes=unmap \
  -device virtio-blk-pci,drive=root,serial=slipway-root \
  -drive file=seed.tar,format=raw,if=none,id=seed,readonly=on \
  -device virtio-blk-pci,drive=seed,serial=slipway-seed \
  -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$ssh_port-:22,hostfwd=tcp:127.0.0.1:$engine_port-:2376" \
  -device virtio-net-pci,netdev=net -device virtio-rng-pci \
  -chardev file,id=console,path=console.log -serial chardev:console \
  -chardev socket,id=port,path=port.sock,server=on,wait=off \
  -device virtio-serial-pci -device virtconsole,chardev=port "${genid[@]}" \
  -incoming "exec:zstd -dcq $spare/memory" -monitor stdio <monitor >monitor.log 2>qemu.log &
qemu=$!
exec 3>monitor
exit_if_qemu_ended() {
  kill -0 "$qemu" || { qemu='' && cat qemu.log >&2 && exit 1; }
}

# QEMU loads the VM in the paused state. `cont` resumes it, but only once QEMU has read its memory. A request to the
# engine before that would hang.
until grep -q 'VM status: running' monitor.log; do
  exit_if_qemu_ended
  printf 'cont\ninfo status\n' >&3
  sleep 0.05
done
until curl -sf --max-time 10 --cacert "$work/ca.pem" --cert "$work/cert.pem" --key "$work/key.pem" \
  "https://127.0.0.1:$engine_port/version" >/dev/null; do
  exit_if_qemu_ended
  sleep 0.1
done

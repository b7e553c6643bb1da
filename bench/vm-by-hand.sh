#!/usr/bin/env bash
# vm-by-hand.sh IMAGE_FOLDER WORK_FOLDER [ACCELERATOR]: the script that you would write without Slipway for a VM of an
# existing image (disk.qcow2, vmlinuz and initrd in IMAGE_FOLDER). It creates an overlay disk and a tar with the VM's
# identity as the second disk, starts QEMU with the same arguments as Slipway, and requests the engine's /version over
# mutual TLS until it answers. The VM is killed at exit. WORK_FOLDER contains what was created beforehand and is not
# timed: login.pub, host and host.pub (SSH), ca.pem server-cert.pem server-key.pem cert.pem key.pem (for 127.0.0.1).
set -euo pipefail
image=$(realpath "$1") work=$(realpath "$2") accelerator=${3:-tcg}
[[ $accelerator == tcg ]] && cpu=max accel=tcg,thread=multi || cpu=host accel=$accelerator
case $(uname -m) in
  aarch64) program=qemu-system-aarch64 machine=virt,gic-version=max console=ttyAMA0 ;;
  *) program=qemu-system-x86_64 machine=q35,usb=off,vmport=off console=ttyS0 ;;
esac
[[ $program-$cpu != qemu-system-aarch64-max ]] || cpu=max,pauth-impdef=on
id=$(</proc/sys/kernel/random/uuid)
ssh_port=$((20000 + RANDOM % 6000 * 2)) engine_port=$((ssh_port + 1))

stage=$(mktemp -d)
qemu=''
trap '[[ -z $qemu ]] || kill -KILL "$qemu"; rm -rf "$stage"' EXIT

root=$stage/seed
mkdir -p "$root"/etc/{ssh,slipway,docker/tls,systemd/system/docker.service.d}
echo byhand >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 byhand\n::1 localhost\n' >"$root/etc/hosts"
echo "${id//-/}" >"$root/etc/machine-id"
echo dev >"$root/etc/slipway/user"
cp "$work/login.pub" "$root/etc/slipway/authorized_keys"
install -m 600 "$work/host" "$root/etc/ssh/ssh_host_ed25519_key"
cp "$work/host.pub" "$root/etc/ssh/ssh_host_ed25519_key.pub"
cp "$work"/{ca,server-cert,server-key}.pem "$root/etc/docker/tls/"
chmod 600 "$root/etc/docker/tls/server-key.pem"
cat >"$root/etc/docker/daemon.json" <<'JSON'
{"hosts": ["fd://", "tcp://0.0.0.0:2376"], "tlsverify": true, "tlscacert": "/etc/docker/tls/ca.pem",
 "tlscert": "/etc/docker/tls/server-cert.pem", "tlskey": "/etc/docker/tls/server-key.pem"}
JSON
cat >"$root/etc/systemd/system/docker.service.d/tls.conf" <<'UNIT'
[Service]
ExecStart=
ExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
UNIT
tar -cf "$stage/seed.tar" -C "$root" --owner=0 --group=0 etc

qemu-img create -q -f qcow2 -F qcow2 -b "$image/disk.qcow2" "$stage/disk.qcow2" 20G
kernel_arguments="root=/dev/vda console=$console net.ifnames=0 loglevel=4 panic=5 systemd.show_status=true systemd.getty_auto=0 TERM=dumb"
"$program" -name byhand -uuid "$id" -machine "$machine" -accel "$accel" -cpu "$cpu" -smp 2 -m 2048M \
  -nodefaults -no-user-config -display none -kernel "$image/vmlinuz" -initrd "$image/initrd" \
  -append "$kernel_arguments slipway.seed=$id" \
  -drive "file=$stage/disk.qcow2,format=qcow2,if=none,id=root,discard=unmap,detect-zeroes=unmap" \
  -device virtio-blk-pci,drive=root,serial=slipway-root \
  -drive "file=$stage/seed.tar,format=raw,if=none,id=seed,readonly=on" \
  -device virtio-blk-pci,drive=seed,serial=slipway-seed \
  -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$ssh_port-:22,hostfwd=tcp:127.0.0.1:$engine_port-:2376" \
  -device virtio-net-pci,netdev=net -device virtio-rng-pci \
  -chardev "file,id=console,path=$stage/console.log" -serial chardev:console &
qemu=$!

# Without a time limit, a request sent before the guest's network is up would wait for minutes.
until curl -sf --max-time 10 --cacert "$work/ca.pem" --cert "$work/cert.pem" --key "$work/key.pem" \
  "https://127.0.0.1:$engine_port/version" >/dev/null; do
  kill -0 "$qemu" || { qemu='' && exit 1; }
  sleep 0.5
done

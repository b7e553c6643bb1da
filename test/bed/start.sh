#!/usr/bin/env bash
# start.sh SUITE-VARIANT NAME [PUBLIC_KEY_FILE [DOCKER_CREATE_OPTION...]]
#
# Starts a container that boots like a machine, waits until it has booted, and prints its container id and its address,
# then its public SSH host keys, one per line. root, deploy, ops and plain accept the key. Without a key file, the bed's
# own key is created in the cache directory. SLIPWAY_BED_OWNER is the PID of the process that owns the host.
set -euo pipefail

if (($# < 2)); then
  sed -n '2s/^# /usage: /p' "$0" >&2
  exit 2
fi
variant=$1
name=$2
key=${3-}
options=("${@:4}")

# The caller's DOCKER_* variables may be for a machine under test, and must not apply to the bed.
for variable in "${!DOCKER_@}"; do unset "$variable"; done
export DOCKER_HOST=${SLIPWAY_BED_DOCKER_HOST:-unix:///var/run/docker.sock}

if [[ -z $key ]]; then
  cache=${SLIPWAY_BED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway-bed}
  key=$cache/id_ed25519.pub
  mkdir -p "$cache"
  [[ -f $key ]] || ssh-keygen -q -t ed25519 -N '' -C slipway-bed -f "${key%.pub}"
fi

work=$(mktemp -d)
container=
finish() {
  local code=$?
  wait
  rm -rf "$work"
  if ((code != 0)) && [[ -n $container ]]; then docker rm -fv "$container" >/dev/null 2>&1; fi
  exit "$code"
}
trap finish EXIT

# Host keys are created here while the engine creates the container, because in the container they would delay the boot.
# Clients accept RSA keys of at least 2048 bits.
keys=$work/etc/ssh
mkdir -p "$keys"
key_jobs=()
for type in ed25519 ecdsa 'rsa -b 2048'; do
  # shellcheck disable=SC2086 # a type can be followed by its length
  ssh-keygen -q -t $type -N '' -C "root@$name" -f "$keys/ssh_host_${type%% *}_key" &
  key_jobs+=("$!")
done

# All capabilities except SYS_RESOURCE replace --privileged, which an engine without that capability refuses. init needs
# the host's cgroup tree, and /tmp must allow programs as on a machine. The inner engine's data is in a volume, because
# overlay file systems can't be stacked. The stop signal makes init shut down, so that "docker restart" is a reboot.
container=$(docker create --name "$name" --hostname "$name" --label "slipway-bed-host=${SLIPWAY_BED_OWNER:-hand}" \
  --cap-add ALL --cap-drop SYS_RESOURCE \
  --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
  --cgroupns=host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw \
  --stop-signal SIGRTMIN+3 --tmpfs /run --tmpfs /tmp:exec --volume /var/lib/docker \
  "${options[@]}" "slipway-bed:$variant")

for process in "${key_jobs[@]}"; do wait "$process"; done
# A tar stream keeps the owner, which a plain copy would not.
tar -c -C "$work" --owner=0 --group=0 --numeric-owner etc/ssh/ | docker cp - "$container:/" >/dev/null
docker start "$container" >/dev/null

# Runs in the new host. The engine mounts the files of its name, so a rename onto them fails: they are replaced by plain
# files. For a moment after its start, init reports "offline" or nothing.
# shellcheck disable=SC2016 # expanded in the host
prepare_host='
  set -eu
  for user in root deploy ops plain; do
    home=$(getent passwd "$user" | cut -d: -f6)
    install -d -m 700 -o "$user" -g "$user" "$home/.ssh"
    printf "%s\n" "$AUTHORIZED_KEY" >"$home/.ssh/authorized_keys"
    chmod 600 "$home/.ssh/authorized_keys"
    chown "$user:$user" "$home/.ssh/authorized_keys"
  done
  for file in /etc/hostname /etc/hosts; do
    content=$(cat "$file")
    umount "$file"
    printf "%s\n" "$content" >"$file"
  done
  until state=$(systemctl is-system-running --wait 2>/dev/null) || [ "$state" = degraded ]; do sleep 0.05; done
  systemctl is-active --quiet ssh || { journalctl --no-pager -u ssh >&2; exit 1; }
  case $VARIANT in
    *-engine) systemctl is-active --quiet docker || { journalctl --no-pager -u docker >&2; exit 1; } ;;
  esac
'
if ! AUTHORIZED_KEY=$(<"$key") VARIANT=$variant \
  timeout 60 docker exec --env AUTHORIZED_KEY --env VARIANT "$container" sh -c "$prepare_host"; then
  printf 'start.sh: %s is not ready; its failed units:\n' "$name" >&2
  docker exec "$container" systemctl --no-pager --failed >&2 || docker logs "$container" >&2 || true
  exit 1
fi

address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$container")
# From here on the host is kept, even if the reader of these lines has ended.
id=$container
container=
printf '%s %s\n' "$id" "${address%% *}"
cat "$keys"/ssh_host_*_key.pub

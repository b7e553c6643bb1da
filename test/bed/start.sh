#!/usr/bin/env bash
# start.sh SUITE-VARIANT NAME [PUBLIC_KEY_FILE [DOCKER_CREATE_OPTION...]]
#
# Starts a container that boots like a machine, waits until it has booted, and prints its container id and its address,
# then its public SSH host keys, one a line. The key may log in as root, deploy, ops and plain. Without a key file a key
# of the bed's own is made in the cache directory. SLIPWAY_BED_OWNER names the process that the host belongs to.
set -euo pipefail

if (($# < 2)); then
  sed -n '2s/^# /usage: /p' "$0" >&2
  exit 2
fi
variant=$1
name=$2
key=${3-}
options=("${@:4}")

# A caller's engine (a machine under test, perhaps) must never be the bed's.
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

# Host keys are made out here, while the engine makes the container: there they would delay the boot. A 2048-bit RSA key
# is the shortest that clients still take.
keys=$work/etc/ssh
mkdir -p "$keys"
making=()
for type in ed25519 ecdsa 'rsa -b 2048'; do
  # shellcheck disable=SC2086 # a type may carry its length
  ssh-keygen -q -t $type -N '' -C "root@$name" -f "$keys/ssh_host_${type%% *}_key" &
  making+=("$!")
done

# All capabilities but SYS_RESOURCE in place of --privileged, which is refused where the engine itself lacks that one.
# init needs the host's cgroup tree, and /tmp must take programs as a machine's does; an overlay file system does not
# stack on another, so the inner engine's data are in a volume. The stop
# signal is the one that makes init shut down, so that "docker restart" is a reboot.
container=$(docker create --name "$name" --hostname "$name" --label "slipway-bed-host=${SLIPWAY_BED_OWNER:-hand}" \
  --cap-add ALL --cap-drop SYS_RESOURCE \
  --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
  --cgroupns=host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw \
  --stop-signal SIGRTMIN+3 --tmpfs /run --tmpfs /tmp:exec --volume /var/lib/docker \
  "${options[@]}" "slipway-bed:$variant")

for process in "${making[@]}"; do wait "$process"; done
# As a tar stream, since a plain copy would not carry the owner.
tar -c -C "$work" --owner=0 --group=0 --numeric-owner etc/ssh/ | docker cp - "$container:/" >/dev/null
docker start "$container" >/dev/null

# Runs in the new host. Its name files are mounts of the engine's, on which a rename fails; plain files take their
# place. init answers a moment after it is started, and says "offline" or nothing until then.
# shellcheck disable=SC2016 # expanded in the host
settle='
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
  timeout 60 docker exec --env AUTHORIZED_KEY --env VARIANT "$container" sh -c "$settle"; then
  printf 'start.sh: %s is not ready; its units in trouble:\n' "$name" >&2
  docker exec "$container" systemctl --no-pager --failed >&2 || docker logs "$container" >&2 || true
  exit 1
fi

address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$container")
# From here on the host stays, even if the reader of these lines is gone.
id=$container
container=
printf '%s %s\n' "$id" "${address%% *}"
cat "$keys"/ssh_host_*_key.pub

#!/usr/bin/env bash
# Builds and caches what the tests against real hosts need:
#   - four container images that boot like a machine: slipway-bed:{bookworm,trixie}-{bare,engine}
#   - the Compose and Buildx client plugins, a static busybox and a registry, in the cache directory
# Only what is missing or out of date is made; --force makes everything again.
set -euo pipefail

readonly users='deploy ops plain'
readonly ops_password='correct horse battery'
readonly bare_packages='systemd-sysv,udev,dbus,openssh-server,ca-certificates,iproute2,sudo,netbase,iptables,curl,procps,kmod'
declare -rA engine_packages=([bookworm]='docker.io' [trixie]='docker.io docker-cli')
readonly digest_label='slipway-bed.digest'
readonly cache=${SLIPWAY_BED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway-bed}

die() {
  printf 'build-images.sh: %s\n' "$*" >&2
  exit 1
}

force=false
case ${1-} in
  '') ;;
  --force) force=true ;;
  *) die "usage: build-images.sh [--force]" ;;
esac

# A caller's engine (a machine under test, perhaps) must never be the bed's.
for name in "${!DOCKER_@}"; do unset "$name"; done
export DOCKER_HOST=${SLIPWAY_BED_DOCKER_HOST:-unix:///var/run/docker.sock}

command -v docker >/dev/null || die 'needs the docker client'
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# mmdebstrap without root reads these files as another user.
chmod 755 "$work"

# --- what this machine knows about its package sources --------------------------------------------------------------

# shellcheck source=templates/image/apt-sources.sh
. "$(cd "$(dirname "$0")/../.." && pwd)/templates/image/apt-sources.sh"

command -v apt-config >/dev/null || die "needs a Debian machine: the images' sources are derived from its apt sources"
# shellcheck source=/dev/null
own_suite=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
acquire_settings >"$work/apt.conf"
bundle=/etc/ssl/certs/ca-certificates.crt
[[ -f $bundle ]] || bundle=/dev/null

declare -A digest
for suite in bookworm trixie; do
  suite_sources "$own_suite" "$suite" >"$work/$suite.sources"
  [[ -s $work/$suite.sources ]] || die "found no source of Debian ${own_suite:-} main in /etc/apt"
  digest[$suite]=$(cat "$0" "$(dirname "$0")/../../templates/image/apt-sources.sh" "$work/$suite.sources" "$work/apt.conf" "$bundle" | sha256sum | cut -d' ' -f1)
done

# --- one image
# ---------------------------------------------------------------------------------------------------------

label_of() {
  docker image inspect --format "{{index .Config.Labels \"$digest_label\"}}" "$1" 2>/dev/null || true
}

# fresh IMAGE DIGEST: whether the image is there and was made from what is here now.
fresh() {
  ! $force && [[ $(label_of "$1") == "$2" ]] && printf '%s is up to date\n' "$1"
}

# built IMAGE SECONDS OLD_ID: says so and drops the image that it replaces.
built() {
  printf '%s built in %s s\n' "$1" "$2"
  if [[ -n $3 ]]; then docker image rm "$3" >/dev/null 2>&1 || true; fi
}

id_of() {
  docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true
}

# Runs once in the new root, outside of it: what makes a plain Debian tree one of the bed's hosts.
cat >"$work/customize.sh" <<HOOK
#!/bin/bash
set -euo pipefail
root=\$1
sources=\$2

# mmdebstrap's own copy of the sources is replaced by one under Debian's usual name.
rm -f "\$root"/etc/apt/sources.list "\$root"/etc/apt/sources.list.d/*
install -m 644 "\$sources" "\$root/etc/apt/sources.list.d/debian.sources"
sed -n 's/^Signed-By: *\(\/.*\)/\1/p' "\$sources" | tr ' ' '\n' | while read -r key; do
  [[ -e \$root\$key ]] || install -D -m 644 "\$key" "\$root\$key"
done

# Certificates this machine trusts beyond Debian's, one a file, so that they outlive the package's own updates.
awk -v directory="\$root/usr/local/share/ca-certificates" '
  /BEGIN CERTIFICATE/ { text = "" }
  { text = text \$0 "\n" }
  /END CERTIFICATE/ {
    if (FILENAME == ARGV[1]) known[text] = 1
    else if (!known[text]++) printf "%s", text > (directory "/machine-" ++count ".crt")
  }' "\$root/etc/ssl/certs/ca-certificates.crt" "$bundle"
chroot "\$root" update-ca-certificates >/dev/null 2>&1

for user in $users; do
  chroot "\$root" useradd --create-home --user-group --shell /bin/bash --password '*' "\$user"
done
chroot "\$root" usermod --append --groups sudo ops
printf '%s' 'ops:$ops_password' | chroot "\$root" chpasswd
install -m 440 /dev/stdin "\$root/etc/sudoers.d/deploy" <<'END'
deploy ALL=(ALL:ALL) NOPASSWD: ALL
END

install -m 644 /dev/stdin "\$root/etc/ssh/sshd_config.d/slipway-bed.conf" <<'END'
PermitRootLogin prohibit-password
PubkeyAuthentication yes
UseDNS no
MaxStartups 200:30:400
END

# Periodic work would take apt's lock under a running test.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer; do
  ln -sf /dev/null "\$root/etc/systemd/system/\$unit"
done

# An identity belongs to a host, not to its image. An empty machine-id, unlike none, is filled at boot without the
# first-boot rules that would enable every unit by preset.
rm -f "\$root"/etc/ssh/ssh_host_* "\$root/var/lib/dbus/machine-id" "\$root/etc/hostname"
: >"\$root/etc/machine-id"

# apt's index stays, with the cache made of it: an install in a running host needs neither network for it nor time.
rm -f "\$root"/var/cache/apt/archives/*.deb "\$root"/var/cache/apt/archives/partial/*
chroot "\$root" apt-cache gencaches >/dev/null
HOOK
chmod 755 "$work/customize.sh"

build_bare() {
  local suite=$1 image=slipway-bed:$1-bare old id
  fresh "$image" "${digest[$suite]}" && return
  command -v mmdebstrap >/dev/null || die "needs mmdebstrap (apt-get install mmdebstrap)"
  old=$(id_of "$image")
  SECONDS=0
  # Documentation is not read by any test; unsafe I/O spares the syncs that make dpkg slow. The image gets its name only
  # when all has gone well: an import of half a tree would succeed as well. A session of its own, since mmdebstrap hangs
  # up its whole process group when its reader goes away.
  id=$(
    setsid --wait mmdebstrap --quiet --variant=minbase --include="$bare_packages" --format=tar \
      --aptopt="$work/apt.conf" \
      --dpkgopt=force-unsafe-io \
      --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/doc/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' \
      --skip=cleanup/apt \
      --customize-hook="\"$work/customize.sh\" \"\$1\" \"$work/$suite.sources\"" \
      "$suite" - "$work/$suite.sources" 2>"$work/$suite.log" |
      docker import \
        --change 'CMD ["/sbin/init"]' \
        --change "LABEL $digest_label=${digest[$suite]}" \
        -
  )
  docker tag "$id" "$image"
  built "$image" "$SECONDS" "$old"
}

build_engine() {
  local suite=$1 image=slipway-bed:$1-engine container=slipway-bed-build-$1 old
  fresh "$image" "${digest[$suite]}" && return
  old=$(id_of "$image")
  SECONDS=0
  docker rm -f "$container" >/dev/null 2>&1 || true
  # No service may start here: nothing runs as init, and an engine's identity must not get into the image.
  docker run --name "$container" --interactive "slipway-bed:$suite-bare" bash -euo pipefail -s \
    >"$work/$suite.log" 2>&1 <<END
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes --no-install-recommends ${engine_packages[$suite]}
rm -f /usr/sbin/policy-rc.d /var/cache/apt/archives/*.deb
: >/etc/machine-id
END
  docker commit --change 'CMD ["/sbin/init"]' --change "LABEL $digest_label=${digest[$suite]}" "$container" "$image" >/dev/null
  docker rm -f "$container" >/dev/null
  built "$image" "$SECONDS" "$old"
}

# --- client plugins and busybox
# ------------------------------------------------------------------------------------------

# Compose v2 and Buildx are packages of Debian 13 only; their files run on Debian 12 as well.
export_tools() {
  local suite=trixie missing=$force tool
  local tools=("$cache/cli-plugins/docker-compose" "$cache/cli-plugins/docker-buildx" "$cache/busybox" "$cache/registry")
  for tool in "${tools[@]}"; do [[ -x $tool ]] || missing=true; done
  if ! $missing; then
    printf 'client plugins, busybox and registry are there\n'
    return
  fi
  SECONDS=0
  mkdir -p "$work/tools"
  docker run --rm --interactive "slipway-bed:$suite-bare" bash -euo pipefail -s 2>"$work/$suite.log" <<'END' | tar -x -C "$work/tools"
mkdir /unpacked
cd /tmp
apt-get download docker-compose docker-buildx busybox-static docker-registry >&2
for package in ./*.deb; do dpkg-deb -x "$package" /unpacked; done
mkdir -p /tools/cli-plugins
for plugin in docker-compose docker-buildx; do
  find /unpacked -path "*/docker/cli-plugins/$plugin" -exec mv {} /tools/cli-plugins/ \;
done
find /unpacked -name busybox -type f -exec mv {} /tools/busybox \;
find /unpacked -name docker-registry -type f -path '*/bin/*' -exec mv {} /tools/registry \;
tar -c -C /tools cli-plugins/docker-compose cli-plugins/docker-buildx busybox registry
END
  mkdir -p "$cache/cli-plugins"
  mv -f "$work/tools/cli-plugins/"* "$cache/cli-plugins/"
  mv -f "$work/tools/busybox" "$work/tools/registry" "$cache/"
  printf 'client plugins, busybox and registry fetched in %s s\n' "$SECONDS"
}

# --- everything
# ----------------------------------------------------------------------------------------------------------

# The two suites in parallel: one waits for the network or the disk while the other computes.
build_suite() {
  build_bare "$1"
  build_engine "$1"
  if [[ $1 == trixie ]]; then export_tools; fi
}

docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || die "no Docker engine answers at $DOCKER_HOST"

failed=false
declare -A job
for suite in bookworm trixie; do
  build_suite "$suite" &
  job[$suite]=$!
done
for suite in bookworm trixie; do
  if ! wait "${job[$suite]}"; then
    failed=true
    printf 'build-images.sh: building the images of %s failed:\n' "$suite" >&2
    if [[ -f $work/$suite.log ]]; then tail -n 20 "$work/$suite.log" >&2; fi
  fi
done
if $failed; then exit 1; fi

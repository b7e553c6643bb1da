# Prints what the plan needs to know, one `key value` a line; file contents as base64. Changes nothing.
# SUDO_PASSWORD may have been set by the lines that were sent before these.

main() {
    LC_ALL=C
    export LC_ALL
    become=$(way_to_root)
    echo "become $become"
    [ "$become" = none ] || [ "$become" = missing ] || as_root
}

way_to_root() {
    if [ "$(id -u)" = 0 ]; then
        echo root
    elif ! command -v sudo >/dev/null 2>&1; then
        echo missing
    elif sudo -n true >/dev/null 2>&1; then
        echo sudo
    elif [ -n "${SUDO_PASSWORD-}" ] && printf '%s\n' "$SUDO_PASSWORD" | sudo -k -S -p '' true >/dev/null 2>&1; then
        echo password
    else
        echo none
    fi
}

as_root() {
    case $become in
        root) sh -s ;;
        sudo) sudo -n sh -s ;;
        # printf is built into the shell, so the password meets no argv.
        password) { printf '%s\n' "$SUDO_PASSWORD" && cat; } | sudo -k -S -p '' sh -s ;;
    esac <<'ROOT'
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH

content() {
    if [ -f "$2" ]; then echo "$1 $(base64 -w 0 <"$2")"; fi
}

# On its first boot cloud-init may still write package sources, and install what the user data ask for.
if [ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && [ ! -e /run/cloud-init/disabled ] &&
    command -v cloud-init >/dev/null; then
    timeout 600 cloud-init status --wait >/dev/null 2>&1 || true
fi

ID='' ID_LIKE='' VERSION_CODENAME='' UBUNTU_CODENAME='' DEBIAN_CODENAME='' VERSION_ID='' PRETTY_NAME=''
if [ -r /etc/os-release ]; then . /etc/os-release; fi
echo "os_id $ID"
echo "os_like $ID_LIKE"
# A derivative names the release whose packages it takes.
echo "os_codename ${UBUNTU_CODENAME:-${DEBIAN_CODENAME:-$VERSION_CODENAME}}"
echo "os_version $VERSION_ID"
echo "os_name $PRETTY_NAME"
echo "arch $(uname -m)"
# A container that boots has the boot id of the kernel that it shares, and a first process of its own.
read -r boot </proc/sys/kernel/random/boot_id
read -r first </proc/1/stat
# shellcheck disable=SC2086 # its words; the name before them may hold spaces
set -- ${first##*) }
echo "boot $boot ${20}"
if [ -d /run/systemd/system ]; then echo 'init systemd'; fi
if command -v apt-get >/dev/null; then echo 'packages apt'; fi
if dockerd=$(command -v dockerd); then echo "dockerd $dockerd"; fi
if command -v dpkg-query >/dev/null; then
    # shellcheck disable=SC2016 # the format is dpkg-query's own
    dpkg-query -W -f 'package ${Package} ${db:Status-Status} ${Version}\n' docker.io docker-cli docker-buildx docker-compose \
        docker-ce docker-ce-cli docker-ce-rootless-extras docker-buildx-plugin docker-compose-plugin \
        containerd containerd.io runc 2>/dev/null
fi
if [ -d /run/systemd/system ]; then
    echo "unit_state $(systemctl is-active docker.service)"
    echo "unit_enabled $(systemctl is-enabled docker.service 2>/dev/null)"
    echo "unit $(systemctl cat docker.service 2>/dev/null | base64 -w 0)"
fi
content daemon_json /etc/docker/daemon.json
content slipway_state /etc/docker/slipway/state.json
if [ -e /run/slipway/restart-pending ]; then echo 'restart_pending yes'; fi
if [ -e /run/slipway/life-pending ]; then echo 'life_pending yes'; fi
# All in one go: most of what a look costs is the start of programs.
set --
for file in /etc/docker/slipway/* /etc/systemd/system/docker.service.d/50-slipway.conf \
    /etc/systemd/system/docker.service.d/10-machine.conf \
    /etc/apt/sources.list.d/slipway-docker.sources /etc/apt/keyrings/slipway-docker.asc \
    /usr/local/lib/slipway/deadline.sh /usr/local/lib/slipway/idle.sh /etc/systemd/system/timers.target.d/slipway.conf \
    /etc/systemd/system/slipway-deadline.* /etc/systemd/system/slipway-idle.*; do
    if [ -f "$file" ]; then set -- "$@" "$file"; fi
done
if [ $# -gt 0 ]; then
    sha256sum -- "$@" | sed 's/^/sum /'
    stat -c 'file %a %U %n' -- "$@"
fi
df -Pk /etc /var/lib 2>/dev/null | while read -r _ _ _ free _ mount; do
    case $free in *[!0-9]*) ;; *) echo "free $free $mount" ;; esac
done
# Last, since it is held against the clock of who reads this.
echo "now $(date +%s)"
ROOT
}

main

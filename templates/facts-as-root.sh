# Prints the facts that only root can read, one `key value` per line; contents of files as base64. Changes nothing.
# FAMILIES: names of service managers and distributions. The scripts that define their functions `facts_of_NAME` come
# before this one. ENGINE_PORT: the port on which the engine is to listen.
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH

content() {
    if [ -f "$2" ]; then echo "$1 $(base64 -w 0 <"$2")"; fi
}

# Facts that a family gathers in the background go to descriptor 3: in the output of the others, they could cut a long
# line in two.
gather() {
    # On a first boot cloud-init may still write package sources, and install what the user data ask for.
    if [ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && [ ! -e /run/cloud-init/disabled ] &&
        command -v cloud-init >/dev/null; then
        timeout 600 cloud-init status --wait >/dev/null 2>&1 || true
    fi

    ID='' ID_LIKE='' VERSION_CODENAME='' UBUNTU_CODENAME='' DEBIAN_CODENAME='' VERSION_ID='' PRETTY_NAME=''
    # shellcheck source=/dev/null # the host's own file
    if [ -r /etc/os-release ]; then . /etc/os-release; fi
    echo "os_id $ID"
    echo "os_like $ID_LIKE"
    # A derivative names the release whose packages it uses.
    echo "os_codename ${UBUNTU_CODENAME:-${DEBIAN_CODENAME:-$VERSION_CODENAME}}"
    echo "os_version $VERSION_ID"
    echo "os_name $PRETTY_NAME"
    echo "arch $(uname -m)"
    # Containers share the boot ID of their kernel, so the start time of the first process tells their boots apart.
    read -r boot </proc/sys/kernel/random/boot_id
    read -r first </proc/1/stat
    # shellcheck disable=SC2086 # splits into words; the process name before them may contain spaces
    set -- ${first##*) }
    echo "boot $boot ${20}"
    if dockerd=$(command -v dockerd); then echo "dockerd $dockerd"; fi

    # Slipway's files, as shell patterns separated by spaces. Each family adds its own.
    files='/etc/docker/slipway/* /usr/local/lib/slipway/deadline.sh /usr/local/lib/slipway/idle.sh'
    for family in $FAMILIES; do "facts_of_$family"; done
    other_engines

    content daemon_json /etc/docker/daemon.json
    content slipway_state /etc/docker/slipway/state.json
    if [ -e /run/slipway/restart-pending ]; then echo 'restart_pending yes'; fi
    if [ -e /run/slipway/life-pending ]; then echo 'life_pending yes'; fi
    # All files at once, since starting programs takes most of the time.
    set --
    for file in $files; do
        if [ -f "$file" ]; then set -- "$@" "$file"; fi
    done
    if [ $# -gt 0 ]; then
        sha256sum -- "$@" | sed 's/^/sum /'
        stat -c 'file %a %U %n' -- "$@"
    fi
    df -Pk /etc /var/lib 2>/dev/null | while read -r _ _ _ free _ mount; do
        case $free in *[!0-9]*) ;; *) echo "free $free $mount" ;; esac
    done
    wait
}

exec 3>&1
answers=$(gather)
printf '%s\n' "$answers"
# The last fact, since Slipway compares it with the clock of its own computer on arrival.
echo "now $(date +%s)"
# Without this line, the answer is not complete.
echo 'complete yes'

# Installs the engine on Debian and Ubuntu. Its configuration lies there already, so its first start is the right one.
# SOURCE: distro, docker or url; or present, which upgrades what is there from where the host's package lists have it.
# VERSION: the whole version or its beginning, or empty.
# DISTRIBUTION, CODENAME, REPOSITORY_URL, REPOSITORY_KEY: for docker. INSTALL_URL: for url. PACKAGES: for present.

main() {
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    finish_earlier_work
    running=$(engine_pid)
    before=$(engine_version)
    case $SOURCE in
        distro) from_distro ;;
        docker) from_docker ;;
        url) from_url ;;
        present) upgrade ;;
    esac
    if ! command -v dockerd >/dev/null; then
        why 'the installation ended without an error, but there is no dockerd'
        exit 1
    fi
    # Three starts within a minute are all that the unit allows; ours is not one of the failing kind.
    systemctl reset-failed docker.service docker.socket 2>/dev/null || true
    # Debian's package lets the engine run on as it was, as does a host whose policy keeps services from being restarted.
    if [ -e "$pending" ] || [ "$(engine_version)" != "$before" ]; then
        if [ "$running" != 0 ] && [ "$(engine_pid)" = "$running" ]; then systemctl restart docker.service || true; fi
    fi
    # A host whose policy keeps new services from starting gets the one start here.
    systemctl enable --quiet --now docker.service || {
        journalctl -u docker.service -n 15 --no-pager -o cat >&2
        why 'the engine is installed, but it did not start'
        exit 1
    }
    rm -f "$pending"
}

pending=/run/slipway/restart-pending

why() {
    echo "!! $1" >&2
}

apt() {
    apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false "$@"
}

# 0 where none runs.
engine_pid() {
    systemctl show --property MainPID --value docker.service
}

engine_version() {
    # shellcheck disable=SC2016 # the format is dpkg-query's own
    dpkg-query -W -f '${Package} ${Version} ' docker.io docker-ce 2>/dev/null || true
}

# A run that was killed left its package manager at work, or its work half done. `check` waits for the first, since
# dpkg itself waits for nobody, and fails for the second.
finish_earlier_work() {
    if apt check >/dev/null 2>&1; then return; fi
    # Packages whose dependencies are still missing fail here, and get them from the next line.
    dpkg --configure -a || true
    apt --fix-broken install || {
        why 'the package manager was interrupted earlier and can not finish that'
        exit 1
    }
}

update() {
    # The lock of the package lists has no option to wait for, hence the second and third try.
    apt update "$@" || { sleep 3 && apt update "$@"; } || { sleep 7 && apt update "$@"; } || {
        why 'the package lists could not be fetched'
        exit 1
    }
}

known() {
    apt-cache show --no-all-versions "$1" >/dev/null 2>&1
}

# The newest known version of package $1 that begins with $2, with or without the epoch.
version_of() {
    apt-cache madison "$1" | awk -v wanted="$2" '{
        version = $3; bare = version; sub(/^[0-9]+:/, "", bare)
        if (index(version, wanted) == 1 || index(bare, wanted) == 1) { print version; exit }
    }'
}

# A package list that is a little old names files that are gone: look again before giving up.
install() {
    apt install --allow-downgrades "$@" || { update && apt install --allow-downgrades "$@"; } || { why "the package manager could not install $*"; exit 1; }
}

pinned() {
    if [ -z "$VERSION" ]; then
        echo "$1"
        return
    fi
    found=$(version_of "$1" "$VERSION")
    if [ -z "$found" ]; then
        why "there is no version $VERSION of $1 here; there are: $(apt-cache madison "$1" | awk '{ printf "%s%s", (NR > 1 ? ", " : ""), $3 }')"
        exit 1
    fi
    echo "$1=$found"
}

# Containers can't start where the kernel enforces AppArmor and nothing can load a profile.
apparmor() {
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then echo apparmor; fi
}

from_distro() {
    known docker.io || update
    known docker.io || { why 'the package lists of the host have no docker.io'; exit 1; }
    engine=$(pinned docker.io) || exit 1
    client=$(if known docker-cli; then echo docker-cli; fi)
    # shellcheck disable=SC2046,SC2086 # a list of packages, of which some may be absent
    install "$engine" $client ca-certificates iptables $(apparmor)
}

from_docker() {
    key=/etc/apt/keyrings/slipway-docker.asc
    listing=/etc/apt/sources.list.d/slipway-docker.sources
    if ! { command -v curl && command -v gpg; } >/dev/null; then
        update
        install ca-certificates curl gpg
    fi
    curl -fsSL --retry 3 --connect-timeout 20 -o key.asc "$REPOSITORY_URL/$DISTRIBUTION/gpg" || {
        why "$REPOSITORY_URL can't be reached from the host; --engine-source distro takes the distribution's own package"
        exit 1
    }
    primary=$(gpg --batch --quiet --no-options --homedir . --show-keys --with-colons key.asc |
        awk -F: '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }')
    if [ "$primary" != "$REPOSITORY_KEY" ]; then
        why "the key of $REPOSITORY_URL is $(echo "$primary" | tr '\n' ' '), not $REPOSITORY_KEY: nothing was installed"
        exit 1
    fi
    mkdir -p /etc/apt/keyrings
    cp key.asc "$key" && chmod 644 "$key"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: stable\nArchitectures: %s\nSigned-By: %s\n' \
        "$REPOSITORY_URL/$DISTRIBUTION" "$CODENAME" "$(dpkg --print-architecture)" "$key" >"$listing"
    # A source that does not work would break the host's own updates.
    (update && { known docker-ce || { why "$REPOSITORY_URL has no engine for $DISTRIBUTION $CODENAME; --engine-source distro takes the distribution's own package" && exit 1; }; }) || {
        rm -f "$listing" "$key"
        exit 1
    }
    engine=$(pinned docker-ce) || exit 1
    client=$(pinned docker-ce-cli) || exit 1
    # shellcheck disable=SC2046 # a list of packages, of which some may be absent
    install "$engine" "$client" containerd.io docker-buildx-plugin docker-compose-plugin ca-certificates iptables $(apparmor)
}

from_url() {
    command -v curl >/dev/null || { update && install ca-certificates curl; }
    curl -fsSL --retry 3 --connect-timeout 20 -o install.sh "$INSTALL_URL" || {
        why "$INSTALL_URL can't be fetched from the host"
        exit 1
    }
    VERSION=$VERSION sh ./install.sh || { why "the install script of $INSTALL_URL failed"; exit 1; }
}

# Touches no package that is not the engine's, and no list of where packages come from.
upgrade() {
    # A list that could not be fetched must not make an old engine look like the newest.
    update -o APT::Update::Error-Mode=any
    wanted=
    for package in $PACKAGES; do
        # Docker's client and extras have their engine's versions.
        case $package in
            docker.io | docker-ce | docker-ce-*) wanted="$wanted $(pinned "$package")" || exit 1 ;;
            *) wanted="$wanted $package" ;;
        esac
    done
    # shellcheck disable=SC2086 # a list of packages
    planned=$(apt --simulate install --only-upgrade --allow-downgrades $wanted) || {
        echo "$planned" >&2
        held=$(apt-mark showhold $PACKAGES | tr '\n' ' ')
        why "the package manager can not upgrade$wanted${held:+ (held back there: ${held% })}"
        exit 1
    }
    newer=$(echo "$planned" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
    if [ -z "$newer" ]; then return; fi
    # Killed half-way, the next run has to know that the engine must be restarted.
    if echo "$newer" | grep -qx -e docker.io -e docker-ce; then mkdir -p /run/slipway && : >"$pending"; fi
    # shellcheck disable=SC2086 # a list of packages
    automatic=$(apt-mark showauto $PACKAGES)
    # shellcheck disable=SC2086 # a list of packages
    install --only-upgrade $wanted
    # Naming a package makes it one that somebody asked for.
    # shellcheck disable=SC2086 # a list of packages
    if [ -n "$automatic" ]; then apt-mark auto $automatic >/dev/null; fi
}

main

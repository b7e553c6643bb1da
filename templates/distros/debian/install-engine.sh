# Installs the engine on Debian and Ubuntu. Its configuration is already written, so it starts with the right one.
# SOURCE: distro, docker or url; or present, which upgrades the installed packages from the repositories that the host
# already has.
# VERSION: a version or its beginning, or empty for the newest.
# DISTRIBUTION, CODENAME, REPOSITORY_URL, REPOSITORY_KEY: for docker. INSTALL_URL: for url. PACKAGES: for present.

main() {
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    complete_interrupted_installation
    running=$(engine_pid)
    before=$(engine_version)
    case $SOURCE in
        distro) install_from_distro ;;
        docker) install_from_docker ;;
        url) run_install_script ;;
        present) upgrade_packages ;;
    esac
    if ! command -v dockerd >/dev/null; then
        explain 'the installation ended without an error, but dockerd does not exist'
        exit 1
    fi
    forget_failed_starts
    # Debian's package does not restart the engine, nor does a host whose policy forbids packages to restart services.
    if [ -e "$pending" ] || [ "$(engine_version)" != "$before" ]; then
        if [ "$running" != 0 ] && [ "$(engine_pid)" = "$running" ]; then restart_engine_service || true; fi
    fi
    # On a host whose policy forbids packages to start services, the engine starts here.
    enable_and_start_engine || {
        print_engine_log >&2
        explain 'the engine is installed, but it did not start'
        exit 1
    }
    rm -f "$pending"
}

pending=/run/slipway/restart-pending

# Slipway shows the user the last line that begins with `!!`.
explain() {
    echo "!! $1" >&2
}

apt() {
    apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false "$@"
}

engine_version() {
    # shellcheck disable=SC2016 # the format is dpkg-query's own
    dpkg-query -W -f '${Package} ${Version} ' docker.io docker-ce 2>/dev/null || true
}

# A run that was killed may have left its package manager running, or an installation incomplete. `check` waits for the
# first, since dpkg itself does not wait, and fails for the second.
complete_interrupted_installation() {
    if apt check >/dev/null 2>&1; then return; fi
    # Packages whose dependencies are still missing fail here, and get them from the next command.
    dpkg --configure -a || true
    apt --fix-broken install || {
        explain 'the package manager was interrupted earlier and could not complete that installation'
        exit 1
    }
}

update() {
    # apt has no option to wait for the lock of the package lists, hence the second and third try.
    apt update "$@" || { sleep 3 && apt update "$@"; } || { sleep 7 && apt update "$@"; } || {
        explain 'the package lists could not be fetched'
        exit 1
    }
}

is_available() {
    apt-cache show --no-all-versions "$1" >/dev/null 2>&1
}

# Prints the newest available version of package $1 that begins with $2, with or without the epoch.
version_of() {
    apt-cache madison "$1" | awk -v wanted="$2" '{
        version = $3; bare = version; sub(/^[0-9]+:/, "", bare)
        if (index(version, wanted) == 1 || index(bare, wanted) == 1) { print version; exit }
    }'
}

# A package list that is a little old names files that no longer exist: fetch it again before failing.
install() {
    apt install --allow-downgrades "$@" || { update && apt install --allow-downgrades "$@"; } || {
        explain "the package manager could not install $*"
        exit 1
    }
}

# Prints the argument with which apt installs package $1 in VERSION.
with_version() {
    if [ -z "$VERSION" ]; then
        echo "$1"
        return
    fi
    found=$(version_of "$1" "$VERSION")
    if [ -z "$found" ]; then
        available=$(apt-cache madison "$1" | awk '{ printf "%s%s", (NR > 1 ? ", " : ""), $3 }')
        explain "version $VERSION of $1 does not exist in the host's package lists; available versions: $available"
        exit 1
    fi
    echo "$1=$found"
}

# Prints the package that loads AppArmor profiles if the kernel enforces them: containers could not start without it.
apparmor_package() {
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then echo apparmor; fi
}

install_from_distro() {
    is_available docker.io || update
    is_available docker.io || { explain 'docker.io does not exist in the package lists of the host'; exit 1; }
    engine=$(with_version docker.io) || exit 1
    client=$(if is_available docker-cli; then echo docker-cli; fi)
    # shellcheck disable=SC2046,SC2086 # a list of packages, of which some may be absent
    install "$engine" $client ca-certificates iptables $(apparmor_package)
}

install_from_docker() {
    key=/etc/apt/keyrings/slipway-docker.asc
    listing=/etc/apt/sources.list.d/slipway-docker.sources
    if ! { command -v curl && command -v gpg; } >/dev/null; then
        update
        install ca-certificates curl gpg
    fi
    curl -fsSL --retry 3 --connect-timeout 20 -o key.asc "$REPOSITORY_URL/$DISTRIBUTION/gpg" || {
        explain "$REPOSITORY_URL could not be reached from the host; $use_distro"
        exit 1
    }
    primary=$(gpg --batch --quiet --no-options --homedir . --show-keys --with-colons key.asc |
        awk -F: '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }')
    if [ "$primary" != "$REPOSITORY_KEY" ]; then
        explain "the key of $REPOSITORY_URL is $(echo "$primary" | tr '\n' ' '), not $REPOSITORY_KEY: nothing was installed"
        exit 1
    fi
    mkdir -p /etc/apt/keyrings
    cp key.asc "$key" && chmod 644 "$key"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: stable\nArchitectures: %s\nSigned-By: %s\n' \
        "$REPOSITORY_URL/$DISTRIBUTION" "$CODENAME" "$(dpkg --print-architecture)" "$key" >"$listing"
    # A repository that does not work would break the host's own updates.
    (update && require_docker_package) || {
        rm -f "$listing" "$key"
        exit 1
    }
    engine=$(with_version docker-ce) || exit 1
    client=$(with_version docker-ce-cli) || exit 1
    # shellcheck disable=SC2046 # a list of packages, of which some may be absent
    install "$engine" "$client" containerd.io docker-buildx-plugin docker-compose-plugin \
        ca-certificates iptables $(apparmor_package)
}

use_distro="--engine-source distro installs the distribution's own package"

require_docker_package() {
    is_available docker-ce && return
    explain "$REPOSITORY_URL has no engine for $DISTRIBUTION $CODENAME; $use_distro"
    return 1
}

run_install_script() {
    command -v curl >/dev/null || { update && install ca-certificates curl; }
    curl -fsSL --retry 3 --connect-timeout 20 -o install.sh "$INSTALL_URL" || {
        explain "$INSTALL_URL could not be fetched from the host"
        exit 1
    }
    VERSION=$VERSION sh ./install.sh || { explain "the install script of $INSTALL_URL failed"; exit 1; }
}

# Upgrades the engine's packages and no others, and changes no list of repositories.
upgrade_packages() {
    # With a list that could not be fetched, an old engine would look like the newest.
    update -o APT::Update::Error-Mode=any
    wanted=
    for package in $PACKAGES; do
        # Docker's client and extras have their engine's versions.
        case $package in
            docker.io | docker-ce | docker-ce-*) wanted="$wanted $(with_version "$package")" || exit 1 ;;
            *) wanted="$wanted $package" ;;
        esac
    done
    # shellcheck disable=SC2086 # a list of packages
    planned=$(apt --simulate install --only-upgrade --allow-downgrades $wanted) || {
        echo "$planned" >&2
        held=$(apt-mark showhold $PACKAGES | tr '\n' ' ')
        explain "the package manager could not upgrade$wanted${held:+ (held back on the host: ${held% })}"
        exit 1
    }
    newer=$(echo "$planned" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
    if [ -z "$newer" ]; then return; fi
    # After an interruption the next run has to know that the engine must be restarted.
    if echo "$newer" | grep -qx -e docker.io -e docker-ce; then mkdir -p /run/slipway && : >"$pending"; fi
    # shellcheck disable=SC2086 # a list of packages
    automatic=$(apt-mark showauto $PACKAGES)
    # shellcheck disable=SC2086 # a list of packages
    install --only-upgrade $wanted
    # apt marks every package on its command line as manually installed.
    # shellcheck disable=SC2086 # a list of packages
    if [ -n "$automatic" ]; then apt-mark auto $automatic >/dev/null; fi
}

main

# Installs the engine on Debian and Ubuntu. Its configuration is already written, so it starts with the right one.
# MODE: preview, check or install (see apt.sh). `check` runs before anything else on the host is changed.
# SOURCE: distro, docker or url; or present, which upgrades the installed packages from the repositories that the host
# already has.
# VERSION: a version or its beginning, or empty for the newest. VERSION_PATTERN: a regular expression for its packages.
# LISTING: the file in which the host has Docker's repository already, or empty.
# DISTRIBUTION, CODENAME, REPOSITORY_URL, REPOSITORY_KEY: for docker. INSTALL_URL: for url. PACKAGES: for present.

main() {
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    if is_preview && [ -n "${LISTING-}" ] && [ -e "$listing" ]; then
        note "The packages are known when $listing is removed: $LISTING has Docker's repository, too"
        return
    fi
    if is_preview && holder=$(holder_of_lock); then
        note "apt is in use by $holder: the packages are known when that has ended"
        return
    fi
    first_pid=$(engine_pid)
    complete_interrupted_installation
    # The package starts its engine, which has not read the configuration that is written after the check.
    if [ "$MODE" = check ] && [ "$(engine_pid)" != "$first_pid" ]; then mark_restart_pending; fi
    case $MODE in
        preview) preview ;;
        check) check ;;
        install) install_and_start ;;
    esac
}

key=/etc/apt/keyrings/slipway-docker.asc
listing=/etc/apt/sources.list.d/slipway-docker.sources
# What logs in to a repository stands in this file, which only root can read.
login=/etc/apt/auth.conf.d/slipway.conf

preview() {
    note 'The packages below follow from the package lists that the host has now'
    case $SOURCE in
        docker)
            if [ -z "$LISTING" ] && ! is_available docker-ce; then
                note "$REPOSITORY_URL is added first: its packages are known when its lists are fetched"
                return
            fi
            ;;
        distro)
            if ! is_available docker.io; then
                note 'The package lists are fetched first: the packages are known then'
                return
            fi
            ;;
        url)
            note "$INSTALL_URL decides which packages are installed; it can remove none with apt"
            return
            ;;
    esac
    change_engine_packages
}

check() {
    case $SOURCE in
        distro)
            is_available docker.io || update
            is_available docker.io || { explain 'docker.io does not exist in the package lists of the host'; exit 1; }
            ;;
        docker) prepare_repository ;;
        url)
            if ! command -v curl >/dev/null; then require_program curl; fi
            return
            ;;
    esac
    (change_engine_packages) || {
        undo_repository
        exit 1
    }
}

install_and_start() {
    running=$(engine_pid)
    before=$(engine_version)
    trap take_back_configuration EXIT
    case $SOURCE in
        url) run_install_script ;;
        # The other sources were prepared by a step of their own.
        present)
            # With a list that could not be fetched, an old engine would look like the newest.
            update -o APT::Update::Error-Mode=any
            change_engine_packages
            ;;
        *) change_engine_packages ;;
    esac
    if ! command -v dockerd >/dev/null; then
        explain 'the installation ended without an error, but dockerd does not exist'
        exit 1
    fi
    forget_failed_starts
    # Debian's package does not restart the engine, nor does a host whose policy forbids packages to restart services.
    if is_restart_pending || [ "$(engine_version)" != "$before" ]; then
        if [ "$running" != 0 ] && [ "$(engine_pid)" = "$running" ]; then restart_or_restore; fi
    fi
    # On a host whose policy forbids packages to start services, the engine starts here.
    enable_and_start_engine || {
        print_engine_log >&2
        explain 'the engine is installed, but it did not start'
        exit 1
    }
    return_live_restore
    answers_after_restart || restore_and_restart
    end_restart
    trap - EXIT
}

# Runs if this script ends early. An engine that has not read its new configuration must not read it at its next start,
# without anybody who could take it back then.
take_back_configuration() {
    status=$?
    if has_previous && is_engine_active && [ "$(engine_pid)" = "$running" ]; then
        restore_previous && reload_definitions && end_restart
    fi
    return_live_restore
    if has_previous && ! is_engine_active; then
        (restore_and_restart) || true
        # The engine may have failed to start in the middle of the installation.
        dpkg --configure -a >&2 || true
    fi
    exit "$status"
}

engine_version() {
    # shellcheck disable=SC2016 # the format is dpkg-query's own
    dpkg-query -W -f '${Package} ${Version} ' docker.io docker-ce 2>/dev/null || true
}

# If this run is interrupted, the next one has to know that the engine that runs is not the one that is installed.
before_change() {
    if [ "${running:-0}" = 0 ]; then return; fi
    if ! awk '{ print $2 }' changes | grep -qx -e docker.io -e docker-ce; then return; fi
    mark_restart_pending
    # The installation restarts the engine.
    protect_containers
    lend_live_restore
}

# --- packages ---

update() {
    tries=1
    # Another program may take apt's lock at any time, and networks fail for a moment.
    until apt update "$@"; do
        if [ "$tries" -ge 3 ]; then
            explain 'the package lists could not be fetched'
            exit 1
        fi
        sleep $((tries * 3))
        tries=$((tries + 1))
    done
}

is_available() {
    apt-cache show --no-all-versions "$1" >/dev/null 2>&1
}

# Prints those of its arguments that are not installed. To name an installed package would upgrade it, too.
missing() {
    for package in "$@"; do
        # shellcheck disable=SC2016 # the format is dpkg-query's own
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=
        if [ "$state" != installed ]; then echo "$package"; fi
    done
}

# Prints the argument with which apt installs package $1 in VERSION.
with_version() {
    if [ -z "$VERSION" ]; then
        echo "$1"
        return
    fi
    found=$(apt-cache madison "$1" | awk -v pattern="$VERSION_PATTERN" '$3 ~ pattern { print $3; exit }')
    if [ -z "$found" ]; then
        available=$(apt-cache madison "$1" | awk '{ print $3 }' | listed)
        explain "version $VERSION of $1 does not exist in the host's package lists; available versions: $available"
        exit 1
    fi
    echo "$1=$found"
}

# Prints the package that loads AppArmor profiles if the kernel enforces them: containers could not start without it.
apparmor_package() {
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then echo apparmor; fi
}

# Installs the packages of SOURCE, or simulates that in a preview or check.
change_engine_packages() {
    wanted=$(wanted_packages) || exit 1
    wanted=${wanted% }
    options=$(if [ "$SOURCE" = present ]; then echo --only-upgrade; fi)
    # Only what the user named a version for may become older.
    if [ -n "$VERSION" ]; then options="$options --allow-downgrades"; fi
    names=$(for argument in $wanted; do echo "${argument%%=*}"; done)
    # apt marks every package on its command line as manually installed.
    # shellcheck disable=SC2086 # a list of packages
    automatic=$(apt-mark showauto $names)
    try_to_change || { ! is_preview && update && try_to_change; } || {
        held=$(held_packages)
        explain "the package manager could not $verb $wanted${held:+ (held back on the host: $held)}"
        if [ -n "$held" ]; then advise "To allow it, run this on the host, then the same command again: sudo apt-mark unhold $(echo "$held" | tr -d ,)"; fi
        exit 1
    }
    # shellcheck disable=SC2086 # a list of packages
    if [ "$MODE" = install ] && [ -n "$automatic" ]; then apt-mark auto $automatic >/dev/null; fi
}

# A package list that is a little old names files that no longer exist: the caller fetches it again before it fails.
try_to_change() {
    verb=$(if [ "$SOURCE" = present ]; then echo upgrade; else echo install; fi)
    lowered=$(if [ -n "$VERSION" ]; then echo docker.io docker-cli docker-ce docker-ce-cli docker-ce-rootless-extras; fi)
    # shellcheck disable=SC2086 # lists of options and packages
    change_packages "${verb%e}ing ${wanted%%[= ]*}" "$lowered" install $options $wanted
}

# Prints what a new engine $1 is installed with; an engine that is there keeps the packages that its host has.
companions() {
    if [ -z "$(missing "$1")" ]; then return; fi
    shift
    # shellcheck disable=SC2046 # a list of packages, of which some may be absent
    missing "$@" ca-certificates iptables $(apparmor_package)
}

# Prints the packages of SOURCE as arguments of apt, on one line.
wanted_packages() {
    case $SOURCE in
        distro)
            engine=$(with_version docker.io) || exit 1
            client=$(if is_available docker-cli; then echo docker-cli; fi)
            # shellcheck disable=SC2046,SC2086 # a list of packages, of which some may be absent
            echo "$engine" $(companions docker.io $client)
            ;;
        docker)
            engine=$(with_version docker-ce) || exit 1
            client=$(with_version docker-ce-cli) || exit 1
            # shellcheck disable=SC2046 # a list of packages, of which some may be absent
            echo "$engine" "$client" $(companions docker-ce containerd.io docker-buildx-plugin docker-compose-plugin)
            ;;
        present)
            # shellcheck disable=SC2086 # a list of packages
            held=$(apt-mark showhold $PACKAGES)
            arguments=$(for package in $PACKAGES; do
                case $package in
                    # Docker's client and extras have their engine's versions.
                    docker.io | docker-ce) with_version "$package" || exit 1 ;;
                    *)
                        # What the administrator holds back stays, unless it is the engine itself.
                        if echo "$held" | grep -qxF -e "$package"; then continue; fi
                        case $package in docker-ce-*) with_version "$package" || exit 1 ;; *) echo "$package" ;; esac
                        ;;
                esac
            done) || exit 1
            echo "$arguments" | tr '\n' ' '
            ;;
    esac
}

# Prints the held packages that the failed transaction is about, as `a, b`.
held_packages() {
    apt-mark showhold | while read -r package; do
        if echo "$names" | grep -qxF -e "$package" || grep -qF -e " $package " simulation; then echo "$package"; fi
    done | listed
}

# --- sources ---

require_program() {
    # shellcheck disable=SC2046 # a list of packages, of which some may be absent
    set -- $(missing ca-certificates "$@")
    if [ $# = 0 ]; then return; fi
    update
    change_packages_now "installing $(echo "$@" | listed)" install "$@" || {
        explain "the package manager could not install $(echo "$@" | listed)"
        exit 1
    }
}

use_distro="--engine-source distro installs the distribution's own package"

# Fetches the lists of Docker's repository. If the host has the repository already, Slipway adds no second one.
prepare_repository() {
    if [ -n "$LISTING" ]; then
        update
        require_docker_package "the repository in $LISTING" || exit 1
        return
    fi
    if ! { command -v curl && command -v gpg; } >/dev/null; then require_program curl gpg; fi
    fetch -o key.asc "$REPOSITORY_URL/$DISTRIBUTION/gpg" || {
        explain "$REPOSITORY_URL could not be reached from the host; $use_distro"
        exit 1
    }
    primary=$(gpg --batch --quiet --no-options --homedir . --show-keys --with-colons key.asc |
        awk -F: '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }')
    if [ "$primary" != "$REPOSITORY_KEY" ]; then
        explain "the key of $REPOSITORY_URL is $(echo "$primary" | tr '\n' ' '), not $REPOSITORY_KEY: nothing was installed"
        exit 1
    fi
    mkdir before
    cp -p "$key" before/key 2>/dev/null || true
    cp -p "$listing" before/listing 2>/dev/null || true
    mkdir -p "${key%/*}"
    cp key.asc "$key" && chmod 644 "$key"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: stable\nArchitectures: %s\nSigned-By: %s\n' \
        "$REPOSITORY_URL/$DISTRIBUTION" "$CODENAME" "$(dpkg --print-architecture)" "$key" >"$listing"
    (update && require_docker_package "$REPOSITORY_URL") || {
        undo_repository
        exit 1
    }
}

# A repository that does not work, or that is not used after all, would break the host's own updates.
undo_repository() {
    if [ ! -d before ]; then return; fi
    rm -f "$listing" "$key"
    if [ -e before/key ]; then cp -p before/key "$key"; fi
    if [ -e before/listing ]; then cp -p before/listing "$listing"; fi
}

require_docker_package() {
    is_available docker-ce && return
    explain "$1 has no engine for $DISTRIBUTION $CODENAME; $use_distro"
    return 1
}

# Downloads with curl, which logs in as apt does.
fetch() {
    if [ -e "$login" ]; then
        sed -n -e 's/[\\"]/\\&/g' -e 's/^machine .* login \(.*\) password \(.*\)$/user = "\1:\2"/p' "$login" >curl.conf
        curl -K curl.conf -fsSL --retry 3 --connect-timeout 20 "$@"
    else
        curl -fsSL --retry 3 --connect-timeout 20 "$@"
    fi
}

run_install_script() {
    curl -fsSL --retry 3 --connect-timeout 20 -o install.sh "$INSTALL_URL" || {
        explain "$INSTALL_URL could not be fetched from the host"
        exit 1
    }
    # The script runs apt itself, and must remove nothing either.
    echo 'APT::Get::Remove "false";' >no-remove.conf
    wait_for_apt
    VERSION=$VERSION APT_CONFIG=$PWD/no-remove.conf sh ./install.sh || {
        explain "the install script of $INSTALL_URL failed"
        exit 1
    }
}

main

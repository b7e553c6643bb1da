# The functions with which a script changes packages on Debian and Ubuntu. Joined before such a script.
# MODE: preview, which changes nothing on the host; check, which prepares a transaction; or install.
#
# Every transaction is simulated first. One that would remove a package, or install an older version that nobody asked
# for, is refused by name: what else is on the host belongs to somebody else.

# Slipway shows the user the last line that begins with `!!`, and as what to do next the last one with `!>`.
explain() {
    echo "!! $1" >&2
}

advise() {
    echo "!> $1" >&2
}
# A line that begins with `!~` is shown at once.

# Slipway shows these lines in `--dry-run`.
note() {
    echo "note $1"
}

is_preview() {
    [ "$MODE" = preview ]
}

apt() {
    wait_for_apt
    apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false -o APT::Get::Remove=false "$@"
}

# A simulation takes no lock. It must see removals, so it allows them.
simulate_apt() {
    apt-get -q -y --simulate -o APT::Install-Recommends=false "$@"
}

# Joins words as `a, b`.
listed() {
    tr -s ' ' '\n' | sed '/^$/d' | paste -sd , - | sed 's/,/, /g'
}

# --- locks ---
#
# apt waits for dpkg's lock by itself, but not for the locks of its lists and of its downloads.

wait_for_apt() {
    waited=0 said=
    while holder=$(holder_of_lock); do
        if [ "$waited" -ge 300 ]; then
            explain "apt on the host is still in use by $holder after five minutes"
            advise 'Run the same command again when that program has ended'
            exit 1
        fi
        if [ "$said" != "$holder" ]; then echo "!~ Waiting for apt, which $holder is using"; fi
        said=$holder
        sleep 1
        waited=$((waited + 1))
    done
}

# Prints the program that holds one of the locks of apt and dpkg; fails if none does.
holder_of_lock() {
    # shellcheck disable=SC2013 # one process id per line
    for pid in $(awk '$2 == "POSIX" || $2 == "OFDLCK" { print $5 }' /proc/locks | sort -u); do
        for open in /proc/"$pid"/fd/*; do
            for lock in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock; do
                # shellcheck disable=SC3013 # the shells of Debian and Ubuntu know it
                if [ "$open" -ef "$lock" ]; then
                    echo "$(program_of "$pid") (PID $pid)"
                    return
                fi
            done
        done
    done
    return 1
}

# Prints the name of a process's program; for an interpreter, that of its script.
program_of() {
    tr '\0' '\n' 2>/dev/null <"/proc/$1/cmdline" | {
        read -r program || program='another program'
        read -r script || script=
        case ${program##*/} in
            python* | perl* | sh | bash | dash) case $script in '' | -*) ;; *) program=$script ;; esac ;;
        esac
        echo "${program##*/}"
    }
}

# --- transactions ---

# Installs what `apt-get install` gets as arguments, or simulates it in a preview or check. $1: what that is called in a
# sentence. $2: the packages that may become older.
change_packages() {
    what=$1 lowered=$2
    shift 2
    simulate_apt "$@" >simulation 2>&1 || {
        cat simulation >&2
        return 1
    }
    planned_changes >changes
    show_changes
    refuse_removals
    refuse_downgrades
    if [ "$MODE" != install ] || [ ! -s changes ]; then return; fi
    # If this run is interrupted, the next one completes the installation of these packages, and of no others.
    before_change
    mkdir -p "${own_packages%/*}"
    awk '{ print $2 }' changes >"$own_packages.new" && mv "$own_packages.new" "$own_packages"
    apt "$@" || return
    rm -f "$own_packages"
}

# Does the same in every mode, for what the transaction itself needs.
change_packages_now() {
    asked=$MODE MODE=install
    what=$1
    shift
    change_packages "$what" '' "$@" || return
    MODE=$asked
}

# Runs before each transaction; a script may replace it.
before_change() {
    :
}

own_packages=/etc/docker/slipway/installing

# Prints the transaction of ./simulation, one line each: `install name - new`, `upgrade name old new`, `downgrade name
# old new`, or `remove name old -`.
planned_changes() {
    awk '
        function bare(word) { gsub(/[][()]/, "", word); return word }
        $1 == "Remv" || $1 == "Purg" { print "remove", $2, bare($3), "-" }
        $1 == "Inst" && $3 ~ /^\[/ { print "upgrade", $2, bare($3), bare($4) }
        $1 == "Inst" && $3 !~ /^\[/ { print "install", $2, "-", bare($3) }' simulation |
        while read -r change name old new; do
            if [ "$change" = upgrade ] && dpkg --compare-versions "$new" lt "$old"; then change=downgrade; fi
            echo "$change $name $old $new"
        done
}

show_changes() {
    if is_preview; then
        sed 's/^/package /' changes
    else
        awk '{ printf "%s %s %s\n", $1, $2, ($1 == "remove" ? $3 : $4) }' changes
    fi
}

refuse_removals() {
    removed=$(awk '$1 == "remove" { print $2 "=" $3 }' changes)
    if [ -z "$removed" ]; then return; fi
    explain "$what would remove $(echo "$removed" | sed 's/\(.*\)=\(.*\)/\1_(\2)/' | listed | tr _ ' ')"
    # shellcheck disable=SC2086 # a list of packages
    names=$(echo $removed | tr ' ' '\n' | sed 's/=.*//' | tr '\n' ' ')
    advise "$(alternative)To do without them, remove them on the host, then run the same command again: sudo apt-get remove ${names% }"
    exit 1
}

refuse_downgrades() {
    older=$(awk '$1 == "downgrade" { print $2 "=" $4 }' changes | while IFS='=' read -r name new; do
        case " $lowered " in *" ${name%:*} "*) ;; *) echo "$name=$new" ;; esac
    done)
    if [ -z "$older" ]; then return; fi
    explain "$what would install older versions: $(echo "$older" | listed)"
    # shellcheck disable=SC2086 # a list of packages
    advise "To install them, run this on the host, then the same command again: sudo apt-get install --allow-downgrades $(echo "$older" | tr '\n' ' ')"
    exit 1
}

# Prints which other source of the engine leaves the host's packages alone, as the beginning of a hint.
alternative() {
    case ${SOURCE-} in
        docker) other='distro' engines='docker.io' ;;
        distro) other='docker' engines='docker-ce docker-ce-cli' ;;
        *) return ;;
    esac
    # shellcheck disable=SC2086 # a list of packages
    simulate_apt install $engines >alternative 2>&1 || return 0
    if grep -q -e '^Remv' -e '^Purg' alternative; then return; fi
    echo "To keep them: --engine-source $other. "
}

# --- interrupted installations ---

# A run that was killed may have left packages incomplete. Completes the installation of Slipway's own packages; what
# else is broken is for the host's administrator, since apt would remove packages to repair it.
complete_interrupted_installation() {
    if ! is_preview; then wait_for_apt; fi
    apt_says=$(apt-get -q -o Debug::NoLocking=true check 2>&1) && works=yes || works=no
    broken=$(broken_packages)
    if [ "$works" = yes ] && [ -z "$broken" ]; then return; fi
    foreign=$(echo "$broken" | not_among "$(own_broken_packages)")
    if [ -n "$foreign" ]; then
        explain "packages that Slipway did not install are broken: $(echo "$foreign" | listed)"
        advise 'Repair them on the host, then run the same command again: sudo dpkg --configure -a && sudo apt-get --fix-broken install'
        exit 1
    fi
    # Without a broken package, dpkg has only to finish writing its database, or apt can't read its own settings.
    if [ -z "$broken" ] && ! ls /var/lib/dpkg/updates/[0-9]* >/dev/null 2>&1; then
        echo "$apt_says" >&2
        explain "apt does not work on the host: $(echo "$apt_says" | sed -n 's/^E: //p' | head -n 1)"
        advise 'Repair it on the host, then run the same command again: sudo apt-get check'
        exit 1
    fi
    if is_preview; then
        note "An interrupted installation is completed first: $(echo "$broken" | listed)"
        return
    fi
    # Packages whose dependencies are still missing fail here, and get them from the next command.
    # shellcheck disable=SC2086 # a list of packages
    if [ -n "$broken" ]; then dpkg --configure $broken || true; else dpkg --configure -a || true; fi
    change_packages_now 'completing the interrupted installation' --fix-broken install || {
        explain 'the package manager was interrupted earlier and could not complete that installation'
        exit 1
    }
}

# Prints the packages that are not completely installed, or lack a dependency.
broken_packages() {
    {
        # shellcheck disable=SC2016 # the format is dpkg-query's own
        dpkg-query -W -f '${Package} ${db:Status-Status} ${db:Status-Eflag}\n' |
            awk '$2 ~ /^(half-installed|half-configured|unpacked)$/ || $3 == "reinstreq" { print $1 }'
        echo "$apt_says" | sed -n 's/^ \([a-z0-9][a-z0-9.+-]*\)\(:[a-z0-9]*\)\{0,1\} : .*/\1/p'
    } | sort -u
}

# Prints the packages of an installation of the engine that was interrupted: those that Slipway noted or, if an engine
# is among the broken ones, that engine's dependencies.
own_broken_packages() {
    if [ -e "$own_packages" ]; then sed 's/:.*//' "$own_packages"; fi
    engines=$(echo "$broken" | grep -x -e docker.io -e docker-ce) || return 0
    # shellcheck disable=SC2086 # a list of packages
    apt-cache depends --recurse --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances $engines |
        grep '^[a-z0-9]' | sed 's/:.*//'
}

# Prints the lines of the input that are not in $1.
not_among() {
    while read -r line; do
        if [ -n "$line" ] && ! echo "$1" | grep -qxF -e "$line"; then echo "$line"; fi
    done
}

# Prints the facts about the engine's packages and adds this family's own paths to `files`.
facts_of_debian() {
    files="$files /etc/apt/sources.list.d/slipway-docker.sources /etc/apt/keyrings/slipway-docker.asc
        /etc/apt/auth.conf.d/slipway.conf"
    if command -v apt-get >/dev/null; then echo 'package_manager apt'; fi
    if command -v dpkg-query >/dev/null; then
        # shellcheck disable=SC2016 # the format is dpkg-query's own
        dpkg-query -W -f 'package ${Package} ${db:Status-Status} ${Version}\n' docker.io docker-cli docker-buildx \
            docker-compose docker-ce docker-ce-cli docker-ce-rootless-extras docker-buildx-plugin docker-compose-plugin \
            containerd containerd.io runc 2>/dev/null
    fi
    package_sources_of_debian
}

# Prints the host's lists of package repositories and the keys that apt verifies these with, except for the keys of the
# distribution itself.
package_sources_of_debian() {
    lists=
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        if [ -s "$list" ]; then lists="$lists $list" && content "package_source $list" "$list"; fi
    done
    if [ -z "$lists" ]; then return; fi
    # shellcheck disable=SC2086 # a list of files
    for key in /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d/* \
        $(sed -n 's,.*[Ss]igned-[Bb]y[=: ]*\(/[^] ]*\).*,\1,p' $lists | tr ',' '\n' | sort -u); do
        case $key in */debian-archive-* | */ubuntu-*keyring*) ;; *) content "package_key $key" "$key" ;; esac
    done
}

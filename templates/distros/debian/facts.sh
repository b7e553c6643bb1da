# Prints the facts about the engine's packages and adds this family's own paths to `files`.
facts_of_debian() {
    files="$files /etc/apt/sources.list.d/slipway-docker.sources /etc/apt/keyrings/slipway-docker.asc"
    if command -v apt-get >/dev/null; then echo 'package_manager apt'; fi
    if command -v dpkg-query >/dev/null; then
        # shellcheck disable=SC2016 # the format is dpkg-query's own
        dpkg-query -W -f 'package ${Package} ${db:Status-Status} ${Version}\n' docker.io docker-cli docker-buildx \
            docker-compose docker-ce docker-ce-cli docker-ce-rootless-extras docker-buildx-plugin docker-compose-plugin \
            containerd containerd.io runc 2>/dev/null
    fi
}

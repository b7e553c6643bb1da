# Prints what the engine says about itself on its local socket, as JSON; nothing where none answers within $1 seconds.
engine_info() {
    if command -v curl >/dev/null; then
        curl -s --max-time "$1" --unix-socket /var/run/docker.sock http://localhost/info || true
    elif command -v docker >/dev/null; then
        timeout "$1" docker -H unix:///var/run/docker.sock info -f '{{json .}}' 2>/dev/null || true
    else
        # shellcheck disable=SC2016 # Perl's variables; Debian's base system has Perl
        timeout "$1" perl -MIO::Socket::UNIX -e '
            my $engine = IO::Socket::UNIX->new("/var/run/docker.sock") or exit 1;
            print $engine "GET /info HTTP/1.0\r\n\r\n";
            undef $/;
            print((split /\r\n\r\n/, <$engine>, 2)[1] // "");
        ' 2>/dev/null || true
    fi
}

# Prints where another program than process $1 answers Docker clients without TLS, such as a proxy for the engine's
# socket.
open_addresses() {
    if ! { command -v ss && command -v curl; } >/dev/null; then return; fi
    ss -Hltnp '( sport = :2375 or sport = :4243 )' 2>/dev/null | while read -r _ _ _ address _ program; do
        case $program in *"pid=$1,"*) continue ;; esac
        asked=$address
        case $address in '0.0.0.0:'* | '*:'* | '[::]:'*) asked=127.0.0.1:${address##*:} ;; esac
        [ "$(curl -s --noproxy '*' --max-time 2 "http://$asked/_ping")" = OK ] || continue
        program=${program#*\"}
        echo "open_address $address ${program%%\"*}"
    done
}

#!/bin/sh
# Does what the computer that runs this machine tells it before it is suspended, and when it goes on: a port of its own is read
# line by line, and each word that asks for it gets its second one back. Only root reads that port. Other words than these
# are passed over, so that an older machine bears a newer program.
PORT=${PORT:-/dev/hvc0}
CONSOLE=${CONSOLE:-/dev/console}
RUN=${RUN:-/run/slipway}

exec 3<>"$PORT" || exit 0
# A terminal would answer with what it is told.
stty raw -echo <&3 || exit 1
printf '\nslipway: can be suspended\n' >"$CONSOLE"

# The next so many lines are the file's.
take_file() {
    left=$2
    while [ "$left" -gt 0 ]; do
        IFS= read -r line <&3 || exit 1
        printf '%s\n' "$line"
        left=$((left - 1))
    done >"$1"
}

# Its uptime stood still meanwhile, by which idle.sh counts: who lets it go on wants it, and a file that is missing says so.
set_clock() {
    rm -f "$RUN/active"
    date --set "@$1" >/dev/null
}

while read -r word one two <&3; do
    case $word in
        sync) sync ;;
        # What was read from its disk and can be read again makes its memory large.
        drop) echo 3 >/proc/sys/vm/drop_caches ;;
        clock) set_clock "$one" ;;
        name) echo "$one" >/proc/sys/kernel/hostname ;;
        random) echo "$one" >/dev/urandom ;;
        file) take_file "$one" "$two" ;;
        answer) echo "$one" >&3 ;;
    esac
done

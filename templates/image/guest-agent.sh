#!/bin/sh
# The guest agent: carries out the commands that the computer sends before it suspends this machine and after it resumes
# it. They arrive line by line on a separate console, which only root can read. The command "answer" sends its
# argument back when all earlier commands are done. Unknown commands are skipped, so that an older machine works with a
# newer program. The commands are a protocol with images and programs of other versions: they must not change.
PORT=${PORT:-/dev/hvc0}
CONSOLE=${CONSOLE:-/dev/console}
RUN=${RUN:-/run/slipway}

exec 3<>"$PORT" || exit 0
# With echo on, the terminal would send every command back.
stty raw -echo <&3 || exit 1
# The program looks for this line before it builds a spare of this image.
printf '\nslipway: can be suspended\n' >"$CONSOLE"

# write_file PATH COUNT: the next COUNT lines are the file's content.
write_file() {
    left=$2
    while [ "$left" -gt 0 ]; do
        IFS= read -r line <&3 || exit 1
        printf '%s\n' "$line"
        left=$((left - 1))
    done >"$1"
}

# Uptime froze during the suspend, so that idle.sh's activity mark is stale; deleting it counts the resume as activity.
set_clock() {
    rm -f "$RUN/active"
    date --set "@$1" >/dev/null
}

while read -r command first second <&3; do
    case $command in
        sync) sync ;;
        # A spare's memory is smaller without the caches of what can be read from its disk again.
        drop) echo 3 >/proc/sys/vm/drop_caches ;;
        clock) set_clock "$first" ;;
        name) echo "$first" >/proc/sys/kernel/hostname ;;
        random) echo "$first" >/dev/urandom ;;
        file) write_file "$first" "$second" ;;
        # The answer tells this agent from older ones, which skip the command.
        poweroff) if systemctl --no-block poweroff; then echo "$first" >&3; fi ;;
        answer) echo "$first" >&3 ;;
    esac
done

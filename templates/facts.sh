# Finds a way to become root and runs the script on its standard input as root. Slipway appends the call of `main` with
# facts-as-root.sh as that input. Prints one `key value` per line and changes nothing. SUDO_PASSWORD may be set by lines
# that were sent before this script.

main() {
    LC_ALL=C
    export LC_ALL
    become=$(way_to_root)
    # The host's login may have printed something without a newline.
    printf '\nbecome %s\n' "$become"
    [ "$become" = none ] || [ "$become" = missing ] || as_root
}

way_to_root() {
    if [ "$(id -u)" = 0 ]; then
        echo root
    elif ! command -v sudo >/dev/null 2>&1; then
        echo missing
    elif sudo -n true </dev/null >/dev/null 2>&1; then
        echo sudo
    elif [ -n "${SUDO_PASSWORD-}" ] && printf '%s\n' "$SUDO_PASSWORD" | sudo -k -S -p '' true >/dev/null 2>&1; then
        echo password
    else
        echo none
    fi
}

as_root() {
    case $become in
        root) sh -s ;;
        sudo) sudo -n sh -s ;;
        # printf is a shell builtin, so the password appears in no process's arguments.
        password) { printf '%s\n' "$SUDO_PASSWORD" && cat; } | sudo -k -S -p '' sh -s ;;
    esac
}

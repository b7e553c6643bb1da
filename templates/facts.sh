# Finds a way to become root and runs as root what stands on its input: the part of the facts in facts-as-root.sh, with
# which Slipway calls `main` behind this script. Prints one `key value` per line and changes nothing. SUDO_PASSWORD may
# be set by the lines that were sent before these.

main() {
    LC_ALL=C
    export LC_ALL
    become=$(way_to_root)
    echo "become $become"
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
        # printf is built into the shell, so the password stands in no argv.
        password) { printf '%s\n' "$SUDO_PASSWORD" && cat; } | sudo -k -S -p '' sh -s ;;
    esac
}

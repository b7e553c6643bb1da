# Completion of slipway for fish.
# In this shell: slipway completion fish | source
# Permanently:   slipway completion fish > ~/.config/fish/completions/slipway.fish

function __slipway_complete
    set -l typed (commandline -opc)
    set -e typed[1]
    # Candidates never contain quotes.
    set -l current (commandline -ct | string replace -ra '[\'"\\\\]' '')
    set -l directive 4
    for line in (command slipway __complete -- $typed "$current" 2>/dev/null)
        if string match -q ':*' -- $line
            set directive (string sub -s 2 -- $line)
        else
            echo $line
        end
    end
    # 4 means no files, 16 means folders only.
    set -l folders (math "floor($directive / 16) % 2")
    set -l files (math "1 - floor($directive / 4) % 2")
    test $folders = 1 -o $files = 1; or return
    set -l head (string match -r -- '^--[^=]*=' $current)
    set -l path (string replace -r -- '^--[^=]*=' '' $current)
    if test $folders = 1
        printf "$head%s\n" (__fish_complete_directories $path '')
    else
        printf "$head%s\n" (__fish_complete_path $path)
    end
end

complete -c slipway -e
complete -c slipway -f -a '(__slipway_complete)'

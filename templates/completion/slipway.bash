# shellcheck shell=bash
# Completion of slipway for bash, with and without the bash-completion package.
# In this shell: source <(slipway completion bash)
# Permanently:   slipway completion bash > ~/.local/share/bash-completion/completions/slipway

_slipway() {
  COMPREPLY=()
  # bash also splits words at = and :. This restores the words as typed, up to the cursor; `head` is the part of the
  # last word that bash does not replace.
  local line=${COMP_LINE:0:COMP_POINT} words=() piece head='' blanks
  for piece in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
    blanks=${line%%[![:blank:]]*}
    line=${line#"$blanks"}
    case $line in "$piece"*) ;; *) piece=$line ;; esac
    line=${line#"$piece"}
    if [[ -n $blanks || ${#words[@]} == 0 ]]; then
      head=''
      words+=("$piece")
    else
      head=${words[${#words[@]} - 1]}
      words[${#words[@]} - 1]+=$piece
    fi
    case $piece in *[!=:]* | '') ;; *) head=${words[${#words[@]} - 1]} ;; esac
  done
  # Candidates never contain quotes.
  words=("${words[@]//[\\\"\']/}")
  head=${head//[\\\"\']/}
  local current=${words[${#words[@]} - 1]} candidate directive=4
  while IFS= read -r candidate; do
    case $candidate in
      :*) directive=${candidate#:} ;;
      *)
        candidate=${candidate%%$'\t'*}
        COMPREPLY+=("${candidate#"$head"}")
        ;;
    esac
  done < <(command slipway __complete -- "${words[@]:1}" 2>/dev/null)
  if ((directive & 2)); then compopt -o nospace 2>/dev/null; fi
  if ((directive & 16)); then
    compopt -o dirnames 2>/dev/null
  elif ((!(directive & 4))); then
    if ((${#COMPREPLY[@]})); then
      while IFS= read -r candidate; do
        [[ -d $candidate ]] && candidate+=/
        printf -v candidate %q "$candidate"
        COMPREPLY+=("$candidate")
      done < <(compgen -f -- "${current#"$head"}")
    else
      # Readline quotes file names by itself.
      compopt -o default 2>/dev/null
    fi
  fi
  return 0
}

# Without compopt, bash offers files whenever there is no candidate.
if ((BASH_VERSINFO[0] < 4)); then complete -o default -F _slipway slipway; else complete -F _slipway slipway; fi

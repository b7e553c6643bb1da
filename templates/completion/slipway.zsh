#compdef slipway
# Completion of slipway for zsh.
# In this shell: source <(slipway completion zsh)
# Permanently:   slipway completion zsh > _slipway, in a folder of $fpath

_slipway() {
  local -a typed closed open
  local line text directive=4
  # Candidates never contain quotes.
  typed=("${(@Q)words[2,CURRENT-1]}" "${(Q)IPREFIX}${PREFIX//[\\\"\']/}")
  while IFS= read -r line; do
    if [[ $line == :* ]]; then
      directive=${line#:}
      continue
    fi
    # In the arguments of _describe, the first colon ends the candidate.
    text=${${line%%$'\t'*}//:/\\:}
    [[ $line == *$'\t'* ]] && text+=:${line#*$'\t'}
    if [[ ${line%%$'\t'*} == *[:=] ]]; then open+=("$text"); else closed+=("$text"); fi
  done < <(command slipway __complete -- "${typed[@]}" 2>/dev/null)
  (($#closed)) && _describe -t values slipway closed
  (($#open)) && _describe -t values slipway open -S ''
  if ((directive & 16)); then
    compset -P '--*='
    _files -/
  elif ((!(directive & 4))); then
    compset -P '--*='
    _files
  fi
}

# On its first call, zsh runs a file from $fpath as the function's body.
if [[ ${funcstack[1]} == _slipway ]]; then
  _slipway "$@"
else
  (($+functions[compdef])) || { autoload -Uz compinit && compinit }
  compdef _slipway slipway
fi

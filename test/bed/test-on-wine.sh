#!/usr/bin/env bash
# Runs unit tests with Windows' own Node under Wine (test/bed/wine.sh prepares it): those of files, locks, processes,
# records and quotes, which differ on Windows. Arguments name other test files.
set -euo pipefail
cd "$(dirname "$0")/../.."

files=(files trash lock store process-identity shell-env openssh record-format qemu-vm-record)
(($#)) || set -- "${files[@]/#/test/unit/}"

cache=${SLIPWAY_BED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway-bed}/wine
export WINEPREFIX=$cache/home WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml=
# The packages with native code for Windows, beside which vitest's other packages are those of this computer.
export NODE_PATH=Z:${cache//\//\\}'\node_modules'
export CI=1 NO_COLOR=1

# Wine keeps the user of the processes that already run.
wineserver -k || true
output=$(mktemp)
status=0
wine "$cache/package/bin/node.exe" 'node_modules\vitest\vitest.mjs' run --project unit "$@" \
  >"$output" 2>&1 </dev/null || status=$?
cat "$output"
rm "$output"
wineserver -k || true
exit "$status"

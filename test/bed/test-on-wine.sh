#!/usr/bin/env bash
# Runs the unit and contract tests with Windows' own Node under Wine (test/bed/wine.sh prepares it). Arguments name the
# test files instead. Ends with one line: how many tests passed, failed and were skipped under Wine.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The unit tests that are left out check the texts of this repository, which are the same everywhere.
texts=(architecture docs-commands generated-docs language security-page)
# These start a process for each step at which it is killed, which takes minutes under Wine. The tests of files and
# trash, which do the same with what both build on, run.
slow=(images-store record-faults)
# The contract tests that run are those of files and sockets of the user's computer. The others need what Windows has
# not (POSIX shells and modes, scripts in place of programs, sshd, man, a QEMU of this computer), run the built program
# in a Unix user's environment (test/e2e/windows.test.ts does that for Windows), or talk HTTP to doubles of clouds and
# touch nothing of this computer.
contract=(authority certificates download engine-api engine-events host-key key-pair ssh)

cache=${SLIPWAY_BED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway-bed}/wine
export WINEPREFIX=$cache/home WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml=
# The packages with native code for Windows, beside which vitest's other packages are those of this computer.
export NODE_PATH=Z:${cache//\//\\}'\node_modules'
export NODE_OPTIONS="--require=\"Z:$PWD/test/bed/wine-sockets.cjs\""
export CI=1 NO_COLOR=1

output=$(mktemp)
status=0
run_tests() {
  # Wine says that there is no processor, so vitest would use one worker. Processes start slowly.
  wine "$cache/package/bin/node.exe" 'node_modules\vitest\vitest.mjs' run --project unit --project contract \
    --maxWorkers="$(nproc)" --testTimeout=120000 --hookTimeout=120000 "$@" >"$output.part" 2>&1 </dev/null || status=$?
  cat "$output.part"
  cat "$output.part" >>"$output"
}
sum_of() {
  awk -v word="$1" '/^ +Tests / { for (at = 3; at <= NF; at++) if ($at == word) sum += $(at - 1) }
    END { print sum + 0 }' "$output"
}

# Wine keeps the user of the processes that already run.
wineserver -k || true
if (($#)); then
  run_tests "$@"
else
  mapfile -t files < <(
    printf 'test/unit/%s.test.ts\n' "${texts[@]}" "${slow[@]}" | grep -vxFf - <(printf '%s\n' test/unit/*.test.ts)
    printf 'test/contract/%s.test.ts\n' "${contract[@]}"
  )
  # Files that replace no module share one import of the sources, which takes most of the time.
  mapfile -t replacing < <(grep -l 'vi\.mock' "${files[@]}")
  mapfile -t sharing < <(grep -L 'vi\.mock' "${files[@]}")
  run_tests --no-isolate "${sharing[@]}"
  run_tests "${replacing[@]}"
fi
wineserver -k || true

passed=$(sum_of passed)
failed=$(sum_of failed)
echo "Under Wine, with Windows' Node: $passed passed, $failed failed, $(sum_of skipped) skipped"
rm "$output" "$output.part"
((passed > 0)) || status=1
exit "$status"

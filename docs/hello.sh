#!/bin/sh
# Runs a first container on the machine `dev`. Its image contains only the machine's own busybox, so that no registry is
# needed.
set -eu
cd "$(dirname "$0")/.."
node dist/slipway.js ssh dev 'tar -C / -ch bin/busybox | docker import -c "ENTRYPOINT [\"/bin/busybox\"]" - hello' >/dev/null
exec docker --context dev run --rm hello echo 'Hello from a container in your virtual machine.'

#!/bin/sh
# A first container in the machine `dev`. Its image is made of the machine's own busybox, so no registry has to be
# reached.
set -eu
cd "$(dirname "$0")/.."
node dist/slipway.js ssh dev 'tar -C / -ch bin/busybox | docker import -c "ENTRYPOINT [\"/bin/busybox\"]" - hello' >/dev/null
exec docker --context dev run --rm hello echo 'Hello from a container in your virtual machine.'

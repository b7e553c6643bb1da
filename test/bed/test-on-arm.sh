#!/usr/bin/env bash
# Runs the tests of local VMs with an arm64 guest in software emulation, on x86-64. Builds the guest's image once, which
# takes about a quarter of an hour.
# --if-cached: says that the tests were not run if that image does not exist yet, and succeeds.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C

die() {
  printf 'test-on-arm.sh: %s\n' "$*" >&2
  exit 1
}

if_cached=false
if [[ ${1-} == --if-cached ]]; then
  if_cached=true
  shift
fi

# The folder that vm-prerequisites.ts chooses: one for each version of the image's scripts.
cache=${SLIPWAY_BED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway-bed}
recipe=$(cd templates/image && for file in *; do printf %s "$file" && cat "$file"; done | sha256sum | cut -c1-12)
images=$cache/images/$recipe

if ! compgen -G "$images/debian-13-arm64-*/image.json" >/dev/null; then
  if $if_cached; then
    echo 'Not run: the tests with an arm64 guest, because their image is not built yet. To run them: npm run test:arm'
    exit 0
  fi
  for program in arch-test mmdebstrap fakeroot qemu-img; do
    command -v "$program" >/dev/null ||
      die "needs $program: apt-get install mmdebstrap fakeroot qemu-utils qemu-system-arm qemu-efi-aarch64 qemu-user-static arch-test"
  done
  # systemd registers QEMU for programs of other architectures. A container may run without it.
  if ! arch-test arm64 >/dev/null; then
    formats=/proc/sys/fs/binfmt_misc
    [[ -e $formats/register ]] || mount -t binfmt_misc none "$formats" || die 'could not mount binfmt_misc'
    cat /usr/lib/binfmt.d/qemu-aarch64.conf >"$formats/register" || die 'could not register QEMU for arm64'
  fi
  home=$(mktemp -d)
  trap 'rm -rf "$home"' EXIT
  install -d -m 700 "$images" "$home/.slipway"
  ln -s "$images" "$home/.slipway/images"
  HOME=$home node dist/slipway.js image build debian-13 --arch arm64
fi

SLIPWAY_ARM=1 npx vitest run --project arm "$@"

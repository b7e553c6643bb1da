import { execFileSync } from 'node:child_process';
import { hasProgram } from './run-program.ts';

/**
 * A script that runs QEMU itself, with the VM's id, monitor and forwards but an empty machine, and writes this console.
 * A guest agent writes each command to the file `commands`, and shuts the VM down if the file `obeys` exists.
 */
export function emptyVmScript(console: string): string {
  // The agent runs as long as QEMU.
  const listener = `
    const { appendFileSync, existsSync } = require("fs");
    const parent = process.ppid;
    setInterval(() => process.ppid === parent || process.exit(), 50);
    require("net").createServer((socket) => {
      socket.on("error", () => {}).on("data", (text) => {
        appendFileSync("commands", text);
        const mark = /^answer (.+)$/m.exec(text)?.[1];
        if (mark) socket.write(mark + "\\n");
        if (/^poweroff /m.test(text) && existsSync("obeys")) process.kill(parent, "SIGTERM");
      });
    }).listen("port.sock");`;
  const program = hasProgram('qemu-system-x86_64')
    ? execFileSync('sh', ['-c', 'command -v qemu-system-x86_64'], { encoding: 'utf8' }).trim()
    : '';
  return `
echo "$@" >> arguments
case "$*" in *-incoming*) if [ -e refused ]; then cat refused; exit 1; fi ;; *) printf '${console}' > console.log ;; esac
rm -f port.sock
'${process.execPath}' -e '${listener}' >/dev/null 2>&1 &
until [ -S port.sock ]; do sleep 0.02; done
keep= incoming=
while [ $# -gt 0 ]; do
  case $1 in -uuid|-qmp|-pidfile|-netdev) keep="$keep $1 $2" ;; -incoming) incoming=$2 ;; esac
  shift
done
exec ${program} -machine none -m 64 -nodefaults -display none $keep \${incoming:+-S -incoming "$incoming"}`;
}

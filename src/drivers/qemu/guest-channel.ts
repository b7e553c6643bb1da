import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Computer } from '../../computer/computer.ts';
import { VM_FILES } from './command-line.ts';

/**
 * A command to the guest agent (`templates/image/guest-agent.sh`). The names of commands must not change, here and on
 * the wire: records of VMs contain them, and images of older versions have an older agent.
 */
export type GuestCommand =
  | { readonly do: 'sync' | 'drop' }
  | { readonly do: 'clock' }
  | { readonly do: 'random' }
  | { readonly do: 'name'; readonly name: string }
  /** Overwrites a file that exists, and leaves its owner and mode as they are. */
  | { readonly do: 'file'; readonly path: string; readonly content: string };

/** The commands for every resume: the current time, and random numbers that no other machine has. */
export const RESUME_COMMANDS: readonly GuestCommand[] = [{ do: 'clock' }, { do: 'random' }];

/** The line that an agent writes to the console once it listens. Agents of older images write none. */
export const GUEST_AGENT_LINE = 'slipway: can be suspended';

/** Returns the lines of a command on the wire. */
export function formatGuestCommand(command: GuestCommand, now: Date): readonly string[] {
  if (command.do === 'clock') return [`clock ${(now.getTime() / 1000).toFixed(3)}`];
  if (command.do === 'random') return [`random ${randomBytes(32).toString('hex')}`];
  if (command.do === 'name') return [`name ${command.name}`];
  if (command.do !== 'file') return [command.do];
  const lines = command.content.replace(/\n$/, '').split('\n');
  return [`file ${command.path} ${lines.length}`, ...lines];
}

/**
 * Shuts a guest down whose agent has no command for that. A rule of udev, which reads new rules by itself, starts the
 * shutdown at an event that only the last command causes.
 */
export const SHUTDOWN_BY_UDEV: readonly GuestCommand[] = [
  {
    do: 'file',
    path: '/etc/udev/rules.d/99-slipway-shutdown.rules',
    content: `ACTION=="change", SUBSYSTEM=="mem", KERNEL=="null", ENV{SYNTH_ARG_SLIPWAY}=="shutdown", RUN+="/bin/systemctl --no-block poweroff"\n`,
  },
  {
    do: 'file',
    path: '/sys/class/mem/null/uevent',
    content: 'change 00000000-0000-4000-8000-000000000000 SLIPWAY=shutdown\n',
  },
];

type ChannelCall = { readonly seconds: number; readonly signal: AbortSignal };

/** Returns whether the VMs of this computer have a guest channel. QEMU offers it as a socket in the VM's folder. */
export function canHaveGuestChannel({ platform }: Pick<Computer, 'platform'>): boolean {
  return platform !== 'win32';
}

/** Sends commands to a guest. Returns whether it confirms within `seconds` that it has carried them out. */
export async function sendGuestCommands(
  folder: string,
  commands: readonly GuestCommand[],
  call: ChannelCall,
): Promise<boolean> {
  const now = new Date();
  const lines = commands.flatMap((command) => formatGuestCommand(command, now));
  return (await exchange(folder, lines, call)) !== undefined;
}

/** Asks a guest to shut down. `unknown`: its agent is older than this command. `none`: nobody answers. */
export async function requestGuestShutdown(
  folder: string,
  call: ChannelCall,
): Promise<'accepted' | 'unknown' | 'none'> {
  const mark = newMark();
  const received = await exchange(folder, [`poweroff ${mark}`], call);
  if (received === undefined) return 'none';
  return received.includes(mark) ? 'accepted' : 'unknown';
}

function newMark(): string {
  return randomBytes(6).toString('hex');
}

/** Sends lines, and returns what the guest has sent until it has processed them; undefined if it does not in time. */
function exchange(
  folder: string,
  commandLines: readonly string[],
  { seconds, signal }: ChannelCall,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const mark = newMark();
    const socket = connect({ path: join(folder, VM_FILES.port) });
    let received = '';
    const finish = (answer: string | undefined): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
      socket.destroy();
      resolve(answer);
    };
    const giveUp = (): void => finish(undefined);
    const timer = setTimeout(giveUp, seconds * 1000);
    signal.addEventListener('abort', giveUp, { once: true });
    // The empty line ends a line that an earlier command may have sent only in part.
    socket.once('connect', () => socket.write(['', ...commandLines, `answer ${mark}`, ''].join('\n')));
    socket.setEncoding('utf8').on('data', (text: string) => {
      received += text;
      // The answer to an earlier command that timed out may come first.
      if (received.includes(mark)) finish(received);
    });
    socket.once('error', giveUp).once('close', giveUp);
  });
}

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { join } from 'node:path';
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

/** Sends commands to a guest. Returns whether it confirms within `seconds` that it has carried them out. */
export function sendGuestCommands(
  folder: string,
  commands: readonly GuestCommand[],
  { seconds, signal }: { readonly seconds: number; readonly signal: AbortSignal },
): Promise<boolean> {
  return new Promise((resolve) => {
    const mark = randomBytes(6).toString('hex');
    const socket = connect({ path: join(folder, VM_FILES.port) });
    let received = '';
    const finish = (isConfirmed: boolean): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
      socket.destroy();
      resolve(isConfirmed);
    };
    const giveUp = (): void => finish(false);
    const timer = setTimeout(giveUp, seconds * 1000);
    signal.addEventListener('abort', giveUp, { once: true });
    socket.once('connect', () => {
      const now = new Date();
      // The empty line ends a line that an earlier command may have sent only in part.
      const lines = ['', ...commands.flatMap((command) => formatGuestCommand(command, now)), `answer ${mark}`, ''];
      socket.write(lines.join('\n'));
    });
    socket.setEncoding('utf8').on('data', (text: string) => {
      received += text;
      // The answer to an earlier command that timed out may come first.
      if (received.includes(mark)) finish(true);
    });
    socket.once('error', giveUp).once('close', giveUp);
  });
}

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { join } from 'node:path';
import { VM_FILES } from './command-line.ts';

/** One thing that a guest is told: what `templates/image/told.sh` understands. */
export type GuestCommand =
  | { readonly do: 'sync' | 'drop' }
  | { readonly do: 'clock' }
  | { readonly do: 'random' }
  | { readonly do: 'name'; readonly name: string }
  /** Over the file that is there, whose rights stay. */
  | { readonly do: 'file'; readonly path: string; readonly content: string };

/** What each machine is told that goes on: the time, and numbers that no other has. */
export const RESUME_COMMANDS: readonly GuestCommand[] = [{ do: 'clock' }, { do: 'random' }];

export function formatGuestCommand(word: GuestCommand, now: Date): readonly string[] {
  if (word.do === 'clock') return [`clock ${(now.getTime() / 1000).toFixed(3)}`];
  if (word.do === 'random') return [`random ${randomBytes(32).toString('hex')}`];
  if (word.do === 'name') return [`name ${word.name}`];
  if (word.do !== 'file') return [word.do];
  const lines = word.content.replace(/\n$/, '').split('\n');
  return [`file ${word.path} ${lines.length}`, ...lines];
}

/** Tells a guest these, and whether it says within so many seconds that it has done them. */
export function sendGuestCommands(
  folder: string,
  words: readonly GuestCommand[],
  { seconds, signal }: { readonly seconds: number; readonly signal: AbortSignal },
): Promise<boolean> {
  return new Promise((resolve) => {
    const mark = randomBytes(6).toString('hex');
    const socket = connect({ path: join(folder, VM_FILES.port) });
    let heard = '';
    const done = (answered: boolean): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.destroy();
      resolve(answered);
    };
    const abort = (): void => done(false);
    const timer = setTimeout(abort, seconds * 1000);
    signal.addEventListener('abort', abort, { once: true });
    socket.once('connect', () => {
      const now = new Date();
      // The first line ends whatever half of one was left there.
      const lines = ['', ...words.flatMap((word) => formatGuestCommand(word, now)), `answer ${mark}`, ''];
      socket.write(lines.join('\n'));
    });
    socket.setEncoding('utf8').on('data', (text: string) => {
      heard += text;
      // An answer that somebody else gave up waiting for may come first.
      if (heard.includes(mark)) done(true);
    });
    socket.once('error', abort).once('close', abort);
  });
}

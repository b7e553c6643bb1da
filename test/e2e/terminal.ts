import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expectSuccess, type User } from './test-user.ts';

export const hasTmux = spawnSync('tmux', ['-V']).status === 0;

export type TerminalSize = { readonly columns: number; readonly rows: number };

/** A real terminal (tmux) and its keyboard. */
export type Terminal = AsyncDisposable & {
  /** Types a line and presses Enter. */
  typeLine(line: string): Promise<void>;
  pressKeys(...keys: readonly string[]): Promise<void>;
  /** Waits until the screen shows this; after two minutes, fails with what it showed instead. */
  waitFor(what: string | RegExp): Promise<string>;
  /** Returns the text on the screen; lines that the terminal wrapped are joined. */
  readScreen(): Promise<string>;
  /** Returns the same with everything that was scrolled away. */
  readHistory(): Promise<string>;
  /** Returns the screen with its colors as escape sequences. */
  readColoredScreen(): Promise<string>;
  resize(size: TerminalSize): Promise<void>;
  hasCursor(): Promise<boolean>;
};

const PROMPT = 'ready>';

export async function openTerminal(
  user: Pick<User, 'home' | 'run'>,
  { columns, rows }: TerminalSize,
  env: Readonly<Record<string, string>> = {},
): Promise<Terminal> {
  const tmux = async (...argv: readonly string[]): Promise<string> =>
    (await expectSuccess(user.run('tmux', ['-u', '-f', '/dev/null', '-S', join(user.home, 'tmux'), ...argv], { env })))
      .stdout;
  // -J joins wrapped lines, with trailing blanks.
  const capture = async (...more: readonly string[]): Promise<string> =>
    (await tmux('capture-pane', '-p', '-J', ...more)).replaceAll(/ +$/gm, '');
  // No history file: the shell would write it into the home folder while that is being removed.
  await tmux('new-session', '-d', '-x', String(columns), '-y', String(rows), 'HISTFILE= bash --norc');
  await tmux('send-keys', `PS1='${PROMPT} '; clear`, 'Enter');
  const terminal: Terminal = {
    async typeLine(line) {
      await tmux('send-keys', '-l', line);
      await tmux('send-keys', 'Enter');
    },
    pressKeys: async (...keys) => void (await tmux('send-keys', ...keys)),
    async waitFor(what) {
      const end = performance.now() + 120_000;
      for (;;) {
        const screen = await capture();
        if (typeof what === 'string' ? screen.includes(what) : what.test(screen)) return screen;
        if (performance.now() > end) throw new Error(`${String(what)} did not show:\n${screen}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    readScreen: () => capture(),
    readHistory: () => capture('-S', '-'),
    readColoredScreen: () => tmux('capture-pane', '-p', '-e'),
    resize: async (size) => void (await tmux('resize-window', '-x', String(size.columns), '-y', String(size.rows))),
    hasCursor: async () => (await tmux('display-message', '-p', '#{cursor_flag}')).trim() === '1',
    async [Symbol.asyncDispose]() {
      await tmux('kill-server');
    },
  };
  await terminal.waitFor(new RegExp(`^${PROMPT} *$`, 'm'));
  return terminal;
}

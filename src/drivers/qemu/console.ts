import { watch } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { systemCode } from '../../errors.ts';

/** How a start went, in the guest's own words on its serial console, or undefined when it has not said so yet. */
export type BootResult = { readonly ready: true } | { readonly ready: false; readonly reason: string };

const BOOT_RESULT_LINE = /^slipway: (?:(ready)|failed: (.+))$/m;

const TERMINAL_SEQUENCES =
  // oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
  /\u001b\[[0-9;?!]*[a-zA-Z]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|\u001b[()][A-Z0-9]|[\r\u0000]/g;

/** What stands on a console, without the cursor movements of whoever wrote it. */
export function stripTerminalSequences(text: string): string {
  return text.replaceAll(TERMINAL_SEQUENCES, '');
}

export function parseBootResult(console: string): BootResult | undefined {
  const match = BOOT_RESULT_LINE.exec(stripTerminalSequences(console));
  if (!match) return undefined;
  return match[1] === undefined ? { ready: false, reason: match[2] ?? '' } : { ready: true };
}

/** The last lines that say something. */
export async function readConsoleTail(file: string, count = 15): Promise<readonly string[]> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return '';
    throw error;
  });
  return stripTerminalSequences(text)
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '')
    .slice(-count);
}

/**
 * Follows a console until the guest has said its word. The system tells when the file grows; once a second `alive` is asked,
 * which ends the wait by rejecting. Lines go to `log` as they come.
 */
export async function waitForBootResult(
  file: string,
  how: {
    readonly log: (line: string) => void;
    readonly signal: AbortSignal;
    readonly requireAlive: () => Promise<void>;
  },
): Promise<BootResult> {
  let text = '';
  let shown = 0;
  const read = async (): Promise<BootResult | undefined> => {
    const more = await readFromOffset(file, text.length);
    // A shorter file is a new console, whose words count from its first.
    if (more === undefined) {
      text = '';
      shown = 0;
    }
    text += more ?? (await readFromOffset(file, 0)) ?? '';
    const end = text.lastIndexOf('\n') + 1;
    for (const line of stripTerminalSequences(text.slice(shown, end)).split('\n')) {
      const said = decodeUtf8(line.trim());
      if (said !== '') how.log(said);
    }
    shown = end;
    // A line that is still being written may be half a word.
    return parseBootResult(decodeUtf8(text.slice(0, end)));
  };
  for (;;) {
    // Watched from before the look, so that no line falls between.
    const grown = watchForChange(file, how.signal);
    try {
      const word = await read();
      if (word) return word;
      await how.requireAlive();
      await grown.promise;
    } finally {
      grown.stop();
    }
  }
}

function decodeUtf8(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** What was written since; undefined when the file is shorter than that. */
async function readFromOffset(file: string, offset: number): Promise<string | undefined> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    // QEMU has not made it yet.
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!handle) return '';
  try {
    const { size } = await handle.stat();
    if (size < offset) return undefined;
    const bytes = Buffer.alloc(size - offset);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, offset);
    // One byte a character, so that offsets in the text are offsets in the file.
    return bytes.toString('latin1', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** Resolves when the file changed, or after a second: not every file system tells. */
function watchForChange(
  file: string,
  signal: AbortSignal,
): { readonly promise: Promise<void>; readonly stop: () => void } {
  let stop = (): void => {};
  const promise = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, 1000);
    let watcher: ReturnType<typeof watch> | undefined;
    try {
      watcher = watch(file, () => resolve());
      watcher.on('error', () => {});
    } catch {
      // Not there yet; the timer looks again.
    }
    const aborted = (): void => reject(signal.reason as Error);
    if (signal.aborted) aborted();
    signal.addEventListener('abort', aborted, { once: true });
    stop = () => {
      clearTimeout(timer);
      watcher?.close();
      signal.removeEventListener('abort', aborted);
      resolve();
    };
  });
  // An abort may come while nobody waits for this yet, or will.
  promise.catch(() => {});
  return { promise, stop };
}

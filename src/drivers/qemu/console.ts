import { watch } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { systemCode } from '../../errors.ts';

/** How a boot went, as the guest reports it on its serial console. */
export type BootResult = { readonly ready: true } | { readonly ready: false; readonly reason: string };

const BOOT_RESULT_LINE = /^slipway: (?:(ready)|failed: (.+))$/m;

/** A guest that can't boot most often ends at once. */
const MIN_ALIVE_CHECK_MILLISECONDS = 250;
const MAX_ALIVE_CHECK_MILLISECONDS = 3000;

const TERMINAL_SEQUENCES =
  // oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
  /\u001b\[[0-9;?!]*[a-zA-Z]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|\u001b[()][A-Z0-9]|[\r\u0000]/g;

/** Returns the text of a console, without the colors and cursor movements of firmware, boot loader and systemd. */
export function stripTerminalSequences(text: string): string {
  return text.replaceAll(TERMINAL_SEQUENCES, '');
}

/** Returns the first result on a console, or undefined if the guest has reported none yet. */
export function parseBootResult(console: string): BootResult | undefined {
  const match = BOOT_RESULT_LINE.exec(stripTerminalSequences(console));
  if (!match) return undefined;
  return match[1] === undefined ? { ready: false, reason: match[2] ?? '' } : { ready: true };
}

/** Returns the last lines that are not empty. */
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
 * Follows a console until the guest reports its boot result, and passes each new line to `log`. The system reports when
 * the file grows. Calls `requireAlive` every few seconds, which ends the wait by throwing: it asks QEMU, whose monitor
 * serves one client at a time.
 */
export async function waitForBootResult(
  file: string,
  how: {
    readonly log: (line: string) => void;
    readonly signal: AbortSignal;
    readonly requireAlive: () => Promise<void>;
  },
): Promise<BootResult> {
  const readResult = followConsole(file, how.log);
  let interval = MIN_ALIVE_CHECK_MILLISECONDS;
  let nextCheck = 0;
  for (;;) {
    // Watches before it reads, so that it misses no change in between.
    const change = watchForChange(file, how.signal);
    try {
      const result = await readResult();
      if (result) return result;
      if (performance.now() >= nextCheck) {
        await how.requireAlive();
        nextCheck = performance.now() + interval;
        interval = Math.min(interval * 2, MAX_ALIVE_CHECK_MILLISECONDS);
      }
      await change.promise;
    } finally {
      change.stop();
    }
  }
}

/**
 * Returns a function that reads what the console has gained since its last call, and returns the boot result if there
 * is one.
 */
function followConsole(file: string, log: (line: string) => void): () => Promise<BootResult | undefined> {
  let text = '';
  let loggedEnd = 0;
  return async () => {
    const added = await readFromOffset(file, text.length);
    // A shorter file is a new console.
    if (added === undefined) {
      text = '';
      loggedEnd = 0;
    }
    text += added ?? (await readFromOffset(file, 0)) ?? '';
    const end = text.lastIndexOf('\n') + 1;
    for (const line of stripTerminalSequences(text.slice(loggedEnd, end)).split('\n')) {
      const trimmed = decodeUtf8(line.trim());
      if (trimmed !== '') log(trimmed);
    }
    loggedEnd = end;
    // Without an incomplete last line, which may be half of a result.
    return parseBootResult(decodeUtf8(text.slice(0, end)));
  };
}

function decodeUtf8(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** Returns what follows this offset, one character per byte; undefined if the file is shorter. */
async function readFromOffset(file: string, offset: number): Promise<string | undefined> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    // QEMU has not created it yet.
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!handle) return '';
  try {
    const { size } = await handle.stat();
    if (size < offset) return undefined;
    const bytes = Buffer.alloc(size - offset);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, offset);
    // latin1 has one character per byte, so that offsets in the text are offsets in the file.
    return bytes.toString('latin1', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** Resolves when the file has changed, and after a second in any case: not every file system reports changes. */
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
      // The file does not exist yet; the timer covers that.
    }
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    stop = () => {
      clearTimeout(timer);
      watcher?.close();
      signal.removeEventListener('abort', abort);
      resolve();
    };
  });
  // An abort may come while nothing awaits this promise.
  promise.catch(() => {});
  return { promise, stop };
}

import type { Log } from '../progress.ts';

const WINDOW_MILLISECONDS = 5000;
const MIN_INTERVAL_MILLISECONDS = 250;

/** Returns `412 of 633 MB (65 %), 21 MB/s, 10 s left`, without the parts that are not known yet. */
export function formatByteProgress(
  done: number,
  total: number | undefined,
  bytesPerSecond: number | undefined,
): string {
  const known = total !== undefined && total >= done && total > 0;
  const amount = known
    ? `${formatMegabytes(done)} of ${formatMegabytes(total)} MB (${Math.floor((done / total) * 100)} %)`
    : `${formatMegabytes(done)} MB`;
  if (bytesPerSecond === undefined || bytesPerSecond <= 0) return amount;
  const rate = `${formatMegabytes(bytesPerSecond)} MB/s`;
  return known ? `${amount}, ${rate}, ${formatTimeLeft((total - done) / bytesPerSecond)} left` : `${amount}, ${rate}`;
}

/**
 * Returns a function to call for every chunk. It logs at most four lines a second, with the rate of the last seconds.
 */
export function createByteMeter(
  log: Log,
  prefix: string,
  now: () => number = () => performance.now(),
): (done: number, total?: number) => void {
  let samples: readonly { readonly at: number; readonly done: number }[] = [];
  return (done, total) => {
    const at = now();
    const last = samples.at(-1);
    if (last !== undefined && done !== total && at - last.at < MIN_INTERVAL_MILLISECONDS) return;
    // Fewer bytes than before: the transfer was restarted.
    const previous = last !== undefined && last.done > done ? [] : samples;
    samples = [...previous.filter((sample) => at - sample.at <= WINDOW_MILLISECONDS), { at, done }];
    const first = samples[0];
    const rate = first !== undefined && at > first.at ? ((done - first.done) * 1000) / (at - first.at) : undefined;
    log(`${prefix}${formatByteProgress(done, total, rate)}`, { done, total, rate });
  };
}

function formatMegabytes(bytes: number): string {
  const value = bytes / 1_000_000;
  return value >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(1);
}

function formatTimeLeft(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

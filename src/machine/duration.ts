export const SECONDS_PER_UNIT = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** Converts a duration to seconds: `4h` -> 14400. */
export function durationToSeconds(duration: string): number {
  return Number(duration.slice(0, -1)) * SECONDS_PER_UNIT[duration.slice(-1) as keyof typeof SECONDS_PER_UNIT];
}

/**
 * Formats seconds in their two largest units, so that they are read at a glance: 90 -> `1 min`, 9000 -> `2 h 30 min`.
 */
export function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  const units = [
    ['d', Math.floor(seconds / SECONDS_PER_UNIT.d)],
    ['h', Math.floor((seconds % SECONDS_PER_UNIT.d) / SECONDS_PER_UNIT.h)],
    ['min', Math.floor((seconds % SECONDS_PER_UNIT.h) / SECONDS_PER_UNIT.m)],
  ] as const;
  const first = units.findIndex(([, count]) => count > 0);
  return units
    .slice(first, first + 2)
    .filter(([, count]) => count > 0)
    .map(([unit, count]) => `${count} ${unit}`)
    .join(' ');
}

const MAX_CHECK_SECONDS = 60;
/** How often a host is checked within the time that it may be idle. */
const CHECKS_PER_IDLE_PERIOD = 4;

/**
 * Returns how many seconds lie between two checks: a whole number, since a check a moment too early would come to
 * nothing.
 */
export function idleCheckSeconds(idleSeconds: number): number {
  return Math.max(1, Math.min(MAX_CHECK_SECONDS, Math.floor(idleSeconds / CHECKS_PER_IDLE_PERIOD)));
}

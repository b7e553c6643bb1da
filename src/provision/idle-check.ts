const MAX_CHECK_SECONDS = 60;
/** The number of checks within the time that a host may be idle. */
const CHECKS_PER_IDLE_PERIOD = 4;

/** Returns the interval between two checks in whole seconds: a check that comes slightly early does nothing. */
export function idleCheckSeconds(idleSeconds: number): number {
  return Math.max(1, Math.min(MAX_CHECK_SECONDS, Math.floor(idleSeconds / CHECKS_PER_IDLE_PERIOD)));
}

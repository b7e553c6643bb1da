/**
 * US dollars an hour on demand, us-central1, from Google's public list of 2026-11; other regions cost more. For estimates alone: what is
 * not here has no known price.
 */
const HOURLY: Readonly<Record<string, number>> = {
  'e2-micro': 0.00838,
  'e2-small': 0.01675,
  'e2-medium': 0.03351,
  'e2-standard-2': 0.06701,
  'e2-standard-4': 0.13402,
  'n1-standard-1': 0.0475,
  'n1-standard-2': 0.095,
  'n2-standard-2': 0.0971,
};
const GB_MONTH: Readonly<Record<string, number>> = { 'pd-standard': 0.04, 'pd-balanced': 0.1, 'pd-ssd': 0.17 };
const HOURS = 730;

/** A month of it as it is: a stopped one costs its disks alone. */
export function machineMonthly(type: string, stopped: boolean, spot: boolean): number | undefined {
  if (stopped) return 0;
  const hourly = HOURLY[type];
  return spot || hourly === undefined ? undefined : hourly * HOURS;
}

export function diskMonthly(type: string, gb: number): number | undefined {
  const price = GB_MONTH[type];
  return price === undefined ? undefined : price * gb;
}

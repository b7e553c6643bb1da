import { createPriceList, HOURS_PER_MONTH } from '../cloud/prices.ts';

/**
 * US dollars an hour on demand, Linux, us-east-1, from AWS's public list of 2026-11; other regions cost up to 50% more.
 * For estimates only: a type that is not in this list has no known price.
 */
const HOURLY_PRICES: Readonly<Record<string, number>> = {
  't2.nano': 0.0058,
  't2.micro': 0.0116,
  't2.small': 0.023,
  't2.medium': 0.0464,
  't2.large': 0.0928,
  't3.nano': 0.0052,
  't3.micro': 0.0104,
  't3.small': 0.0208,
  't3.medium': 0.0416,
  't3.large': 0.0832,
  't3.xlarge': 0.1664,
  't3.2xlarge': 0.3328,
  't3a.micro': 0.0094,
  't3a.small': 0.0188,
  't3a.medium': 0.0376,
  't3a.large': 0.0752,
  't4g.micro': 0.0084,
  't4g.small': 0.0168,
  't4g.medium': 0.0336,
  't4g.large': 0.0672,
  'm5.large': 0.096,
  'm5.xlarge': 0.192,
  'm6i.large': 0.096,
  'm6i.xlarge': 0.192,
  'm7i.large': 0.1008,
  'c5.large': 0.085,
  'c5.xlarge': 0.17,
  'c6i.large': 0.085,
  'r5.large': 0.126,
};
/** US dollars an hour for a public IPv4 address, which a stopped instance does not have. */
const PUBLIC_ADDRESS_HOURLY_PRICE = 0.005;
const MONTHLY_PRICES_PER_GIB: Readonly<Record<string, number>> = { gp3: 0.08, gp2: 0.1 };

export const { instanceMonthlyCost, diskMonthlyCost } = createPriceList(HOURLY_PRICES, MONTHLY_PRICES_PER_GIB);

export const PUBLIC_ADDRESS_MONTHLY_COST = PUBLIC_ADDRESS_HOURLY_PRICE * HOURS_PER_MONTH;

/**
 * Returns whether an instance pays for CPU time above its baseline, which no list price contains: T types do with
 * unlimited credits, the default of all but T2.
 */
export function hasUnlimitedCredits(type: string, cpuCredits: 'standard' | 'unlimited' | undefined): boolean {
  return /^t\d/.test(type) && (cpuCredits ?? (type.startsWith('t2.') ? 'standard' : 'unlimited')) === 'unlimited';
}

import { createPriceList } from '../cloud/prices.ts';

/**
 * US dollars an hour on demand, us-central1, from Google's public list of 2026-11; other regions cost more. For
 * estimates only: a type that is not in this list has no known price.
 */
const HOURLY_PRICES: Readonly<Record<string, number>> = {
  'e2-micro': 0.00838,
  'e2-small': 0.01675,
  'e2-medium': 0.03351,
  'e2-standard-2': 0.06701,
  'e2-standard-4': 0.13402,
  'n1-standard-1': 0.0475,
  'n1-standard-2': 0.095,
  'n2-standard-2': 0.0971,
};
const MONTHLY_PRICES_PER_GIB: Readonly<Record<string, number>> = {
  'pd-standard': 0.04,
  'pd-balanced': 0.1,
  'pd-ssd': 0.17,
};

export const { instanceMonthlyCost, diskMonthlyCost } = createPriceList(HOURLY_PRICES, MONTHLY_PRICES_PER_GIB);

/** US dollars a month of an external IPv4 address that an instance uses. */
const ADDRESS_MONTHLY_COST = 0.005 * 730;
const SPOT_ADDRESS_MONTHLY_COST = 0.0025 * 730;
/** US dollars a month of a reserved address that no running instance uses. */
export const IDLE_ADDRESS_MONTHLY_COST = 0.01 * 730;

/** Returns the cost of the external address of a running instance, in US dollars a month. */
export const addressMonthlyCost = ({ spot }: { readonly spot: boolean }): number =>
  spot ? SPOT_ADDRESS_MONTHLY_COST : ADDRESS_MONTHLY_COST;

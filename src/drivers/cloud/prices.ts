export const HOURS_PER_MONTH = 730;

/** Computes costs from a cloud's list prices. */
export type PriceList = {
  /**
   * Returns the cost of an instance without its disks, in US dollars a month: 0 if it is stopped, even if its price is
   * unknown. Otherwise undefined for a spot instance, whose price changes, and for a type that is not in the list.
   */
  instanceMonthlyCost(
    type: string | undefined,
    status: { readonly spot: boolean; readonly stopped?: boolean },
  ): number | undefined;
  /** Returns the cost of a disk, in US dollars a month; undefined for an unknown size or a type not in the list. */
  diskMonthlyCost(type: string | undefined, gib: number | undefined): number | undefined;
};

/**
 * Creates a cloud's price list from the prices of instance types, in US dollars per hour, and of disk types, in US
 * dollars per month and GiB.
 */
export function createPriceList(
  hourly: Readonly<Record<string, number>>,
  diskMonthlyPerGib: Readonly<Record<string, number>>,
): PriceList {
  return {
    instanceMonthlyCost(type, { spot, stopped = false }) {
      if (stopped) return 0;
      const price = hourly[type ?? ''];
      return spot || price === undefined ? undefined : price * HOURS_PER_MONTH;
    },
    diskMonthlyCost(type, gib) {
      const price = diskMonthlyPerGib[type ?? ''];
      return price === undefined || gib === undefined ? undefined : price * gib;
    },
  };
}

/** Returns the sum; undefined if one of the costs is unknown. */
export function addCosts(...costs: readonly (number | undefined)[]): number | undefined {
  return costs.reduce((sum, cost) => (sum === undefined || cost === undefined ? undefined : sum + cost), 0);
}

export const formatMonthlyCost = (monthly: number): string => `about $${monthly.toFixed(2)} a month`;

/** Describes the cost of a stopped machine, as the end of a sentence: `its disk still costs about $1.60 a month`. */
export const describeDiskCost = (monthly: number | undefined): string =>
  `its disk still costs ${monthly === undefined ? 'money' : formatMonthlyCost(monthly)}`;

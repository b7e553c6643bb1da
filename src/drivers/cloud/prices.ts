const HOURS_PER_MONTH = 730;

export type PriceList = {
  /**
   * Returns US dollars a month for an instance without its disks: 0 while it is stopped; undefined for a spot instance,
   * whose price changes, and for a type that the list does not have.
   */
  instanceMonthlyCost(
    type: string | undefined,
    status: { readonly spot: boolean; readonly stopped?: boolean },
  ): number | undefined;
  /** Returns US dollars a month for a disk of so many GiB; undefined where its type or size is unknown. */
  diskMonthlyCost(type: string | undefined, gib: number | undefined): number | undefined;
};

/**
 * Creates a cloud's price list from US dollars an hour by instance type, and US dollars a month and GiB by disk type.
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

/** Returns what a stopped machine costs, as the end of a sentence: `its disk still costs about $1.60 a month`. */
export const describeDiskCost = (monthly: number | undefined): string =>
  `its disk still costs ${monthly === undefined ? 'money' : formatMonthlyCost(monthly)}`;

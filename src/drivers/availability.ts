import type { Computer } from '../computer/computer.ts';
import type { Driver, Health } from './contract.ts';
import { mendingOf, missingPrograms, packageManager, type PackageManager, type Program } from '../computer/programs.ts';

/** How a driver stands on this computer. */
export type Standing = {
  readonly driver: Driver;
  /** What it says itself, programs aside. */
  readonly health: Health;
  readonly missing: readonly Program[];
};

export async function standingsOf(drivers: readonly Driver[], computer: Computer): Promise<readonly Standing[]> {
  return Promise.all(
    drivers.map(async (driver) => {
      const [health, missing] = await Promise.all([
        driver.health(computer),
        missingPrograms(driver.programs?.(computer) ?? [], computer),
      ]);
      return { driver, health, missing };
    }),
  );
}

/** Best first; drivers without a rank keep their order, behind those that have one. */
export function byRank(standings: readonly Standing[]): readonly Standing[] {
  return standings.toSorted((left, right) => (right.driver.rank ?? -Infinity) - (left.driver.rank ?? -Infinity) || 0);
}

/**
 * The driver that `create` takes where none was named: of those with a rank, the best that works here or would once its
 * programs are installed; where nothing can install them, the best that lacks no more than those.
 */
export function preferred(standings: readonly Standing[], manager: PackageManager | undefined): Standing | undefined {
  const able = byRank(standings).filter(({ driver, health }) => driver.rank !== undefined && health.usable);
  return able.find(({ missing }) => isPackaged(missing, manager)) ?? able[0];
}

export async function preferredHere(drivers: readonly Driver[], computer: Computer): Promise<Standing | undefined> {
  const ranked = drivers.filter(({ rank }) => rank !== undefined);
  if (ranked.length === 0) return undefined;
  const [standings, manager] = await Promise.all([standingsOf(ranked, computer), packageManager(computer)]);
  return preferred(standings, manager);
}

export type Troubles = { readonly reason: string; readonly fix: string; readonly installable: boolean };

/** Why a driver does not work here as things are; undefined when it does. */
export async function troublesOf({ health, missing }: Standing, computer: Computer): Promise<Troubles | undefined> {
  if (!health.usable) return { reason: health.reason, fix: health.fix, installable: false };
  if (missing.length === 0) return undefined;
  const { line, complete } = await mendingOf(missing, computer);
  return { reason: `no ${missing.map(({ command }) => command).join(', no ')}`, fix: line, installable: complete };
}

function isPackaged(missing: readonly Program[], manager: PackageManager | undefined): boolean {
  return missing.every(({ packages }) => manager !== undefined && packages[manager] !== undefined);
}

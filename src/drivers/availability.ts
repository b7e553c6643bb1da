import type { Computer } from '../computer/computer.ts';
import type { DriverHealth, DriverManifest } from './contract.ts';
import {
  planInstall,
  findMissingPrograms,
  findPackageManager,
  type PackageManager,
  type Program,
} from '../computer/programs.ts';

/** How a driver stands on this computer. */
export type DriverStatus = {
  readonly driver: DriverManifest;
  /** What it says itself, programs aside. */
  readonly health: DriverHealth;
  readonly missing: readonly Program[];
};

export async function getDriverStatuses(
  drivers: readonly DriverManifest[],
  computer: Computer,
): Promise<readonly DriverStatus[]> {
  return Promise.all(
    drivers.map(async (driver) => {
      const [health, missing] = await Promise.all([
        driver.checkHealth?.(computer) ?? { usable: true as const },
        findMissingPrograms(driver.programs?.(computer) ?? [], computer),
      ]);
      return { driver, health, missing };
    }),
  );
}

/** Best first; drivers without a rank keep their order, behind those that have one. */
export function sortByPriority(standings: readonly DriverStatus[]): readonly DriverStatus[] {
  return standings.toSorted(
    (left, right) => (right.driver.priority ?? -Infinity) - (left.driver.priority ?? -Infinity) || 0,
  );
}

/**
 * The driver that `create` takes where none was named: of those with a rank, the best that works here or would once its
 * programs are installed; where nothing can install them, the best that lacks no more than those.
 */
export function selectDefaultDriver(
  standings: readonly DriverStatus[],
  manager: PackageManager | undefined,
): DriverStatus | undefined {
  const able = sortByPriority(standings).filter(({ driver, health }) => driver.priority !== undefined && health.usable);
  return able.find(({ missing }) => isPackaged(missing, manager)) ?? able[0];
}

export async function findDefaultDriver(
  drivers: readonly DriverManifest[],
  computer: Computer,
): Promise<DriverStatus | undefined> {
  const ranked = drivers.filter(({ priority }) => priority !== undefined);
  if (ranked.length === 0) return undefined;
  const [standings, manager] = await Promise.all([getDriverStatuses(ranked, computer), findPackageManager(computer)]);
  return selectDefaultDriver(standings, manager);
}

export type DriverProblem = { readonly reason: string; readonly fix: string; readonly installable: boolean };

/** Why a driver does not work here as things are; undefined when it does. */
export async function getDriverProblem(
  { health, missing }: DriverStatus,
  computer: Computer,
): Promise<DriverProblem | undefined> {
  if (!health.usable) return { reason: health.reason, fix: health.fix, installable: false };
  if (missing.length === 0) return undefined;
  const { instruction, canInstall } = await planInstall(missing, computer);
  return {
    reason: `no ${missing.map(({ command }) => command).join(', no ')}`,
    fix: instruction,
    installable: canInstall,
  };
}

function isPackaged(missing: readonly Program[], manager: PackageManager | undefined): boolean {
  return missing.every(({ packages }) => manager !== undefined && packages[manager] !== undefined);
}

import type { Computer } from '../computer/computer.ts';
import type { DriverHealth, DriverManifest } from './contract.ts';
import {
  planInstall,
  findMissingPrograms,
  findPackageManager,
  type PackageManager,
  type Program,
} from '../computer/programs.ts';

/** Whether a driver works on this computer. */
export type DriverStatus = {
  readonly driver: DriverManifest;
  /** What the driver itself reports; it leaves out programs. */
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

/** Sorts drivers by priority, highest first. Drivers without a priority come last, in their order. */
export function sortByPriority(statuses: readonly DriverStatus[]): readonly DriverStatus[] {
  return statuses.toSorted(
    (left, right) => (right.driver.priority ?? -Infinity) - (left.driver.priority ?? -Infinity) || 0,
  );
}

/**
 * Returns the driver that `create` uses if the user names none: of those with a priority, the first that works on this
 * computer, or would once Slipway has installed its programs. If there is none, returns the first that lacks only
 * programs.
 */
export function selectDefaultDriver(
  statuses: readonly DriverStatus[],
  manager: PackageManager | undefined,
): DriverStatus | undefined {
  const usable = sortByPriority(statuses).filter(
    ({ driver, health }) => driver.priority !== undefined && health.usable,
  );
  return usable.find(({ missing }) => canInstallAll(missing, manager)) ?? usable[0];
}

export async function findDefaultDriver(
  drivers: readonly DriverManifest[],
  computer: Computer,
): Promise<DriverStatus | undefined> {
  const candidates = drivers.filter(({ priority }) => priority !== undefined);
  if (candidates.length === 0) return undefined;
  const [statuses, manager] = await Promise.all([
    getDriverStatuses(candidates, computer),
    findPackageManager(computer),
  ]);
  return selectDefaultDriver(statuses, manager);
}

export type DriverProblem = { readonly reason: string; readonly fix: string; readonly installable: boolean };

/** Returns why a driver does not work on this computer; undefined if it does. */
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

/** Returns whether the package manager of this computer has all of these programs. */
function canInstallAll(missing: readonly Program[], manager: PackageManager | undefined): boolean {
  return missing.every(({ packages }) => manager !== undefined && packages[manager] !== undefined);
}

import { beforeEach } from 'vitest';
import type { Driver, DriverManifest } from '../../src/drivers/contract.ts';

type Registry = typeof import('../../src/drivers/registry.ts');

/** Drivers of the current test. They take precedence over Slipway's own drivers of the same name. */
export const registeredDrivers: Driver[] = [];

beforeEach(() => {
  registeredDrivers.length = 0;
});

/**
 * Creates a registry of drivers that also finds `registeredDrivers`, for `vi.mock` in the test file itself: vitest
 * hoists the call only there. `lists` says which drivers the registry's list has; a command that goes through all
 * clouds, such as `gc`, must not reach real ones.
 */
export async function mockDriverRegistry(
  importRegistry: () => Promise<Registry>,
  lists: 'registered drivers' | 'all drivers',
): Promise<Registry> {
  const registry = await importRegistry();
  const find = (name: string): Driver | undefined => registeredDrivers.find((driver) => driver.name === name);
  return {
    ...registry,
    get drivers(): readonly DriverManifest[] {
      return lists === 'all drivers' ? [...registry.drivers, ...registeredDrivers] : registeredDrivers;
    },
    getDriver: (name) => find(name) ?? registry.getDriver(name),
    loadDriver: async (name) => find(name) ?? (await registry.loadDriver(name)),
  };
}

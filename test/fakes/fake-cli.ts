import type { Cli } from '../../src/cli/command.ts';
import { openImageStore } from '../../src/images/image-store.ts';
import type { World } from '../../src/operations/world.ts';

/**
 * Returns a `Cli` without a terminal and without environment variables. Its image store is in the home folder of the
 * world, and images can't be built. A test overrides what it needs.
 */
export function createFakeCli(world: World, overrides: Partial<Cli> = {}): Cli {
  return {
    world,
    images: openImageStore(world.computer.home),
    makeImage: async () => Promise.reject(new Error('this test must not build an image')),
    findImageUsers: async () => [],
    env: {},
    nodeVersion: 'v20.19.0',
    packageFile: '',
    interactive: false,
    width: 80,
    color: false,
    screen: { write: () => {}, waitUntilDrained: async () => {}, size: () => undefined, json: false },
    program: 'slipway',
    progressOf: () => ({ ...world.progress, end: () => {} }),
    setEnvForRun: () => {},
    say: () => {},
    ...overrides,
  };
}

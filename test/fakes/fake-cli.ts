import type { Cli } from '../../src/cli/command.ts';
import { openImageStore } from '../../src/images/image-store.ts';
import type { World } from '../../src/operations/world.ts';

/** Returns what a command sees of its process: no terminal, and no images. A test overrides what it needs. */
export function createFakeCli(world: World, overrides: Partial<Cli> = {}): Cli {
  return {
    world,
    images: openImageStore(world.computer.home),
    makeImage: async () => Promise.reject(new Error('no image is built in this test')),
    listImageUsers: async () => [],
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

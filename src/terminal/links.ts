import type { LinkControl, World } from '../operations/world.ts';

/** Returns the control of links, which is loaded when a command starts or ends one. */
export function createLinks(world: World, program: readonly [node: string, script: string]): LinkControl {
  const load = async (): Promise<LinkControl> => {
    const { createLinkControl } = await import('../link/link-control.ts');
    return createLinkControl({ ...world, program });
  };
  return {
    start: async (machine) => (await load()).start(machine),
    heal: async (machine) => (await load()).heal(machine),
    end: async (name) => (await load()).end(name),
  };
}

import { bedReason, removeLeftovers } from '../bed/host.ts';
import { vmReason } from '../bed/vm.ts';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  // oxlint-disable-next-line typescript/consistent-type-definitions -- only an interface can be merged into the library's
  interface ProvidedContext {
    /** Why no host can be started here; undefined when they can. */
    bedReason: string | undefined;
    /** Why no VM can be made here. */
    vmReason: string | undefined;
  }
}

/** Decides once whether this machine can run hosts. Where it must (SLIPWAY_REQUIRE_E2E), not being able to is a failure. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const reason = await bedReason();
  project.provide('bedReason', reason);
  const noVm = reason ?? (await vmReason());
  project.provide('vmReason', noVm);
  if (noVm !== undefined && process.env.SLIPWAY_REQUIRE_E2E)
    throw new Error(`The tests of local VMs must run here, but: ${noVm}`);
  if (noVm !== undefined && reason === undefined)
    process.stderr.write(`\nSkipped: the tests of local VMs. ${noVm}\n\n`);
  if (reason !== undefined) {
    if (process.env.SLIPWAY_REQUIRE_E2E) throw new Error(`The end-to-end tests must run here, but: ${reason}`);
    process.stderr.write(`\nSkipped: all end-to-end tests. ${reason}\n\n`);
    return async () => {};
  }
  await removeLeftovers();
  return removeLeftovers;
}

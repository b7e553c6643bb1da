import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findBedProblem, removeLeftovers } from '../bed/bed-host.ts';
import { findVmProblem } from '../bed/vm-prerequisites.ts';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  // oxlint-disable-next-line typescript/consistent-type-definitions -- only an interface can be merged into the library's
  interface ProvidedContext {
    /** Why no host can be started here; undefined when they can. */
    bedReason: string | undefined;
    /** Why no VM can be made here. */
    vmReason: string | undefined;
    /** The built program of this run. */
    program: string;
  }
}

/** Decides once whether this machine can run hosts. Where it must (SLIPWAY_REQUIRE_E2E), not being able to is a failure. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const reason = await findBedProblem();
  project.provide('bedReason', reason);
  const noVm = reason ?? (await findVmProblem());
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
  const folder = await copyBuild();
  project.provide('program', join(folder, 'dist', 'slipway.js'));
  return async () => {
    await rm(folder, { recursive: true, force: true });
    await removeLeftovers();
  };
}

/** A copy, since a build meanwhile would take files away that running programs have yet to read. */
async function copyBuild(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-built-'));
  for (const part of ['dist', 'templates', 'package.json'])
    await cp(fileURLToPath(new URL(`../../${part}`, import.meta.url)), join(folder, part), { recursive: true });
  return folder;
}

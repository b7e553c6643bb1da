import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findBedProblem, removeLeftovers } from '../bed/bed-host.ts';
import { findVmProblem } from '../bed/vm-prerequisites.ts';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  // oxlint-disable-next-line typescript/consistent-type-definitions -- only an interface merges into a library's
  interface ProvidedContext {
    /** Why no host can start here; undefined if hosts can start. */
    bedReason: string | undefined;
    /** Why no VM can be created here. */
    vmReason: string | undefined;
    /** The built program that this run tests. */
    program: string;
  }
}

/** Decides once whether this computer can run hosts. With SLIPWAY_REQUIRE_E2E, a computer that cannot is a failure. */
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

/** Copies the build for the tests, because a build during the tests would remove files that programs still need. */
async function copyBuild(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-built-'));
  for (const part of ['dist', 'templates', 'package.json'])
    await cp(fileURLToPath(new URL(`../../${part}`, import.meta.url)), join(folder, part), { recursive: true });
  return folder;
}

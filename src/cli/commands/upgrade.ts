import { z } from 'zod';
import { upgradeMachine, type UpgradeOptions, type UpgradeResult } from '../../operations/upgrade.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import { defineCommand, type Command } from '../command.ts';
import { applyFlagsToSpec } from '../../machine-options/spec-from-flags.ts';
import { requireMachines, type MachineResult, runForEach } from './for-each-machine.ts';
import { planForEach, planResult } from './provision.ts';

const args = z.object({
  engineVersion: z.string().optional().meta({
    description: 'Version to install and pin, complete or a prefix such as 28.2; empty to remove the pin',
    value: 'version',
  }),
  dryRun: z.boolean().default(false).meta({ description: 'Show what would be done on the host' }),
  sudoPassword: sudoPasswordOption,
});

export const upgrade: Command<typeof args> = defineCommand({
  name: 'upgrade',
  summary: 'Upgrade engines to the newest version in their package repository',
  usage: '<names...>',
  args,
  details:
    'Upgrades the packages of the engine only: the engine, its client and plugins, containerd and runc, as far as they are installed. The engine restarts once, and only if it was upgraded.',
  async run({ positionals, args: { engineVersion: version, dryRun } }, cli) {
    const changeSpec: UpgradeOptions['changeSpec'] =
      version === undefined ? undefined : (spec) => applyFlagsToSpec(spec, { 'engine-version': version });
    await requireMachines(positionals, cli);
    if (dryRun) {
      return await planForEach(positionals, cli, async (name, world) =>
        planResult(name, (await upgradeMachine(name, { changeSpec, isDryRun: dryRun }, world)).plan),
      );
    }
    // An empty version stands for the newest one, so the result does not name it.
    return await runForEach(positionals, cli, async (name, world) =>
      upgradeResult(name, await upgradeMachine(name, { changeSpec, isDryRun: dryRun }, world), version || undefined),
    );
  },
});

/**
 * Returns what `upgrade` prints about one machine: the engine's versions, and each package besides the engine and its
 * client that changed too. `version` is the one that the user requested.
 */
export function upgradeResult(
  name: string,
  { url, summary }: UpgradeResult,
  version: string | undefined,
): MachineResult {
  // Only a dry run has no summary.
  if (!summary) throw new Error(`${name} was not upgraded`);
  const { engine, engineBefore, packages } = summary;
  const range = version === undefined ? '' : ` ${version}`;
  const headline =
    engineBefore === undefined
      ? `${name}: engine ${engine} is the newest${range} version in its package repository`
      : `${name}: engine ${engineBefore} -> ${engine}`;
  const others = packages.filter(({ name: packageName }) => !/^docker(\.io|-cli|-ce.*)$/.test(packageName));
  return {
    json: { name, url, engine, engineBefore: engineBefore ?? null, packages },
    text: [headline, ...others.map(({ name: packageName, from, to }) => `${packageName} ${from} -> ${to}`)].join(', '),
  };
}

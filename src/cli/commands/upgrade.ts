import { z } from 'zod';
import { upgradeMachine, type UpgradeResult } from '../../operations/upgrade.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import { defineCommand, type Command } from '../command.ts';
import { applyFlagsToSpec } from '../../machine-options/spec-from-flags.ts';
import { requireMachines, type MachineResult, runForEach } from './for-each-machine.ts';
import { planForEach, planResult } from './provision.ts';

const args = z.object({
  engineVersion: z.string().optional().meta({
    description: 'The version to go to, whole or its beginning: 28.2; empty: the newest, from now on',
    value: 'version',
  }),
  dryRun: z.boolean().default(false).meta({ description: 'Show what would be done on the host' }),
  sudoPassword: sudoPasswordOption,
});

export const upgrade: Command<typeof args> = defineCommand({
  name: 'upgrade',
  summary: 'Upgrade the engine of a machine to the newest version of its own source',
  usage: '<names...>',
  args,
  details:
    'Upgrades the packages of the engine alone: its client and plugins, containerd and runc, as far as they are installed. The rest of the host stays as it is. The engine restarts once, and only if it was upgraded.',
  async run({ positionals, args: { engineVersion: version, dryRun: dry } }, cli) {
    const change: Parameters<typeof upgradeMachine>[1]['change'] =
      version === undefined ? undefined : (spec) => applyFlagsToSpec(spec, { 'engine-version': version });
    await requireMachines(positionals, cli);
    if (dry) {
      return await planForEach(positionals, cli, async (name, world) =>
        planResult(name, (await upgradeMachine(name, { change, dry }, world)).plan),
      );
    }
    return await runForEach(positionals, cli, async (name, world) =>
      upgradeResult(name, await upgradeMachine(name, { change, dry }, world), version || undefined),
    );
  },
});

/** What came of an upgrade; other packages are named where they did more than follow their engine. */
export function upgradeResult(
  name: string,
  { url, summary }: UpgradeResult,
  version: string | undefined,
): MachineResult {
  if (!summary) throw new Error(`${name} was not upgraded`);
  const { engine, engineBefore, packages } = summary;
  const among = version === undefined ? '' : ` ${version}`;
  const headline =
    engineBefore === undefined
      ? `${name}: engine ${engine} is the newest${among} of its source`
      : `${name}: engine ${engineBefore} -> ${engine}`;
  const others = packages.filter(({ name: own }) => !/^docker(\.io|-cli|-ce.*)$/.test(own));
  return {
    json: { name, url, engine, engineBefore: engineBefore ?? null, packages },
    text: [headline, ...others.map(({ name: own, from, to }) => `${own} ${from} -> ${to}`)].join(', '),
  };
}

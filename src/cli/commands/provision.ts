import { z } from 'zod';
import { planDryRun } from '../../operations/dry-run.ts';
import { provisionMachine } from '../../operations/provision-machine.ts';
import type { World } from '../../operations/world.ts';
import type { MachineSpec } from '../../machine/model.ts';
import { profiles as known } from '../../profiles/registry.ts';
import type { Plan } from '../../provision/step.ts';
import { toPlannedSteps } from '../../provision/step.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../command.ts';
import { sanitizeLine } from '../../terminal/terminal-text.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import { machineOptionSpecs } from '../../machine-options/option-specs.ts';
import { applyFlagsToSpec } from '../../machine-options/spec-from-flags.ts';
import { requireMachines, type MachineResult, runForEach } from './for-each-machine.ts';

const args = z.object({
  dryRun: z.boolean().default(false).meta({ description: 'Show what would be done on the host' }),
  profile: z
    .array(z.enum(known.map(({ name }) => name) as [string, ...string[]]))
    .optional()
    .meta({ description: 'Client settings to have from now on, and no others', value: 'name' }),
  sudoPassword: sudoPasswordOption,
});

export const provision: Command<typeof args> = defineCommand({
  name: 'provision',
  summary: 'Bring a machine up to date: engine, configuration, certificates, profiles',
  usage: '<names...>',
  args,
  extraOptions: machineOptionSpecs,
  details:
    'Flags change what the machine was made with; what is not named stays. With nothing to do it changes nothing.',
  async run({ positionals, args: { dryRun: dry, profile }, flags }, cli) {
    const changed = (spec: MachineSpec): MachineSpec => ({
      ...applyFlagsToSpec(spec, flags),
      ...(profile === undefined ? {} : { profiles: profile }),
    });
    // The same time given again is as much time from now on.
    const how = { resetTtl: flags.ttl !== undefined };
    await requireMachines(positionals, cli);
    if (dry) {
      return await planForEach(positionals, cli, async (name, world) => {
        const before = await world.store.read(name);
        return planResult(name, await planDryRun(changed(before.spec), before, world, how));
      });
    }
    return await runForEach(positionals, cli, async (name, world) => {
      const { endpoint } = await provisionMachine(name, changed, world, how);
      return { json: { name, url: endpoint.url }, text: `${name} is ready: ${endpoint.url}` };
    });
  },
});

/** Plans of several machines are a list, and one is a document of its own. */
export async function planForEach(
  names: readonly string[],
  cli: Cli,
  plan: (name: string, world: World) => Promise<MachineResult>,
): Promise<CommandResult> {
  const [only, ...more] = names;
  if (only !== undefined && more.length === 0) return await plan(only, cli.world);
  return await runForEach(names, cli, plan);
}

/** Titles and variables hold words of the host: its release, its architecture. */
function sanitizeLines(value: string): string {
  return value.split('\n').map(sanitizeLine).join('\n');
}

/** A plan as the user sees it with --dry-run. */
export function planResult(name: string, plan: Plan): MachineResult {
  const steps = toPlannedSteps(plan);
  if (steps.length === 0) return { json: { name, steps }, text: `${name}: nothing to do` };
  const lines = steps.flatMap((step, index) => [
    `${index + 1}. ${sanitizeLine(step.title)}`,
    ...step.files.map(({ path, change }) => `     ${change} ${sanitizeLine(path)}`),
    ...Object.entries(step.variables)
      .filter(([key, value]) => value !== '' && key !== 'MANIFEST')
      .map(([key, value]) => `     ${key.toLowerCase().replaceAll('_', ' ')}: ${sanitizeLines(value)}`),
  ]);
  return { json: { name, steps }, text: [`${name}: on the host this would`, ...lines].join('\n') };
}

import { z } from 'zod';
import { planDryRun } from '../../operations/dry-run.ts';
import { provisionMachine } from '../../operations/provision-machine.ts';
import { validateSpec } from '../../operations/validate-spec.ts';
import type { World } from '../../operations/world.ts';
import type { MachineSpec } from '../../machine/model.ts';
import { profiles as registeredProfiles } from '../../profiles/registry.ts';
import type { Plan, PlannedPackage } from '../../provision/step.ts';
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
    .array(z.enum(registeredProfiles.map(({ name }) => name) as [string, ...string[]]))
    .optional()
    .meta({ description: 'Profiles to write, instead of the current ones', value: 'name' }),
  sudoPassword: sudoPasswordOption,
});

export const provision: Command<typeof args> = defineCommand({
  name: 'provision',
  summary: 'Bring machines up to date: engine, configuration, certificates and client settings',
  usage: '<names...>',
  args,
  extraOptions: machineOptionSpecs,
  details:
    "Options change the machine's configuration; options that you omit keep their values. A machine that is up to date is not changed.",
  async run({ positionals, args: { dryRun, profile }, flags }, cli) {
    const withChanges = (spec: MachineSpec): MachineSpec => ({
      ...applyFlagsToSpec(spec, flags),
      ...(profile === undefined ? {} : { profiles: profile }),
    });
    // A ttl that is given again counts from now, even if its value is the same.
    const provisionOptions = { resetTtl: flags.ttl !== undefined };
    await requireMachines(positionals, cli);
    if (dryRun) {
      return await planForEach(positionals, cli, async (name, world) => {
        const before = await world.store.read(name);
        const valid = await validateSpec(withChanges(before.spec), world);
        return planResult(name, await planDryRun(valid, before, world, provisionOptions));
      });
    }
    return await runForEach(positionals, cli, async (name, world) => {
      const { endpoint } = await provisionMachine(name, withChanges, world, provisionOptions);
      return { json: { name, url: endpoint.url }, text: `${name} is ready: ${endpoint.url}` };
    });
  },
});

/** Variables that only scripts read, or that repeat what else is printed. */
const HIDDEN_VARIABLES: ReadonlySet<string> = new Set(['MANIFEST', 'MODE', 'VERSION_PATTERN']);

/** Plans each machine: several plans are a JSON list, a single one is a document of its own. */
export async function planForEach(
  names: readonly string[],
  cli: Cli,
  plan: (name: string, world: World) => Promise<MachineResult>,
): Promise<CommandResult> {
  const [only, ...more] = names;
  if (only !== undefined && more.length === 0) return await plan(only, cli.world);
  return await runForEach(names, cli, plan);
}

/**
 * Titles and variables contain values that the host reported, such as its release: they must not control the terminal.
 */
function sanitizeLines(value: string): string {
  return value.split('\n').map(sanitizeLine).join('\n');
}

function describePackage({ change, name, from, to }: PlannedPackage): string {
  return `${change} ${name} ${[from, to].filter((version) => version !== undefined).join(' -> ')}`;
}

/** Returns a plan as --dry-run prints it. */
export function planResult(name: string, plan: Plan): MachineResult {
  const steps = toPlannedSteps(plan);
  if (steps.length === 0) return { json: { name, steps }, text: `${name}: nothing to do` };
  const lines = steps.flatMap((step, index) => [
    `${index + 1}. ${sanitizeLine(step.title)}`,
    ...step.files.map(({ path, change }) => `     ${change} ${sanitizeLine(path)}`),
    ...(step.notes ?? []).map((text) => `     ${sanitizeLine(text)}`),
    ...(step.packages ?? []).map((planned) => `     ${sanitizeLine(describePackage(planned))}`),
    ...Object.entries(step.variables)
      .filter(([key, value]) => value !== '' && !HIDDEN_VARIABLES.has(key))
      .map(([key, value]) => `     ${key.toLowerCase().replaceAll('_', ' ')}: ${sanitizeLines(value)}`),
  ]);
  return { json: { name, steps }, text: [`${name}: steps on the host`, ...lines].join('\n') };
}

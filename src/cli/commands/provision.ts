import { z } from 'zod';
import { dryRun, provisionMachine } from '../../lifecycle/provision.ts';
import type { MachineSpec } from '../../machine.ts';
import { profiles as known } from '../../provision/profiles/index.ts';
import type { Plan } from '../../provision/step.ts';
import { shownPlan } from '../../provision/step.ts';
import { defineCommand, type Command, type Result } from '../command.ts';
import { printable } from '../printable.ts';
import { sudoPassword } from '../../spec.ts';
import { machineInfos, specChanged } from '../spec.ts';
import { oneByOne } from './each.ts';

const args = z.object({
  dryRun: z.boolean().default(false).meta({ description: 'Show what would be done on the host' }),
  profile: z
    .array(z.enum(known.map(({ name }) => name) as [string, ...string[]]))
    .optional()
    .meta({ description: 'Client settings to have from now on, and no others', value: 'name' }),
  sudoPassword,
});

export const provision: Command<typeof args> = defineCommand({
  name: 'provision',
  summary: 'Bring a machine up to date: engine, configuration, certificates, profiles',
  words: '<names...>',
  args,
  more: machineInfos,
  details:
    'Flags change what the machine was made with; what is not named stays. With nothing to do it changes nothing.',
  async run({ words, args: { dryRun: dry, profile }, flags }, cli) {
    const changed = (spec: MachineSpec): MachineSpec => ({
      ...specChanged(spec, flags),
      ...(profile === undefined ? {} : { profiles: profile }),
    });
    // The same time given again is as much time from now on.
    const how = { anew: flags.ttl !== undefined };
    if (dry) {
      const plans = [];
      for (const name of words) {
        const before = await cli.world.store.read(name);
        plans.push(planResult(name, await dryRun(changed(before.spec), before, cli.world, how)));
      }
      const [only, ...more] = plans;
      if (only && more.length === 0) return only;
      return { json: plans.map(({ json }) => json), text: plans.map(({ text }) => text).join('\n') };
    }
    const done = await oneByOne(words, cli, async (name, world) => {
      const ready = await provisionMachine(name, changed, world, how);
      return { name, url: ready.endpoint.url };
    });
    return { json: done, text: done.map(({ name, url }) => `${name} is ready: ${url}`).join('\n') };
  },
});

/** Titles and variables hold words of the host: its release, its architecture. */
function inLines(value: string): string {
  return value.split('\n').map(printable).join('\n');
}

/** A plan as the user sees it with --dry-run. */
export function planResult(name: string, plan: Plan): Result {
  const steps = shownPlan(plan);
  if (steps.length === 0) return { json: { name, steps }, text: `${name}: nothing to do` };
  const lines = steps.flatMap((step, index) => [
    `${index + 1}. ${printable(step.title)}`,
    ...step.files.map(({ path, change }) => `     ${change} ${printable(path)}`),
    ...Object.entries(step.variables)
      .filter(([key, value]) => value !== '' && key !== 'MANIFEST')
      .map(([key, value]) => `     ${key.toLowerCase().replaceAll('_', ' ')}: ${inLines(value)}`),
  ]);
  return { json: { name, steps }, text: [`${name}: on the host this would`, ...lines].join('\n') };
}

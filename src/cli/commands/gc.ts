import { z } from 'zod';
import { exitCodes, SlipwayError } from '../../errors.ts';
import { deleteOrphans, findOrphans, type Orphan } from '../../operations/gc.ts';
import { getDriver } from '../../drivers/registry.ts';
import { optionsFromEnv, parseOptions, pickFlagValues } from '../../machine/options.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../command.ts';
import { formatError, formatTable } from '../../terminal/text-output.ts';
import { cloudOptionSpecs, credentialOptionSpecs, driverOptionSpecs } from '../../machine-options/option-specs.ts';
import { driverFromFlags } from '../../machine-options/spec-from-flags.ts';
import { setCredentialsForRun } from '../../machine-options/credential-flags.ts';

const args = z.object({
  driver: z.string().optional().meta({ description: 'Check this driver only', short: 'd', value: 'name' }),
  yes: z.boolean().default(false).meta({ description: 'Remove the listed resources without asking', short: 'y' }),
  home: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'Check for resources of another store, by its ID', value: 'id' }),
  allHomes: z.boolean().default(false).meta({ description: 'List the resources of all stores, and remove nothing' }),
});

export const gc: Command<typeof args> = defineCommand({
  name: 'gc',
  summary: 'List cloud resources that belong to no machine here, and remove them',
  usage: '',
  args,
  extraOptions: [...cloudOptionSpecs, ...credentialOptionSpecs],
  details:
    "Slipway tags everything that it creates in a cloud with the ID of its machine and of its store, so resources can be found without their record. Costs are the provider's list prices, where they are known.",
  async run({ args: { driver, yes, home, allHomes }, flags }, cli) {
    setCredentialsForRun(flags, cli);
    const named = driver ?? driverFromFlags(flags);
    if (named !== undefined && getDriver(named).kind !== 'cloud') throw noCloudError(named);
    const { orphans, failures } = await findOrphans(
      {
        driver: named === undefined ? undefined : getDriver(named).name,
        home: home !== undefined ? { id: home } : allHomes ? 'all' : 'this',
        optionsOf: ({ name, options }) => {
          const specs = driverOptionSpecs[name] ?? [];
          return parseOptions(options, specs, { ...optionsFromEnv(specs, cli.env), ...pickFlagValues(specs, flags) });
        },
      },
      cli.world,
    );
    for (const { driver: failedDriver, error } of failures)
      cli.say(`${failedDriver}: ${formatError(error, cli.color)}`);
    const [first] = failures;
    const status = first ? exitCodes[first.error.code] : 0;
    const result = listingResult(orphans, cli, { allHomes, status });
    if (orphans.length === 0 || allHomes) return result;
    if (!yes && !cli.interactive) return result;
    if (!yes && !(await confirmRemoval(orphans, result.text, cli)))
      return { ...result, text: 'Canceled: nothing was removed' };
    await deleteOrphans(orphans, cli.world);
    return {
      json: { removed: orphans.map(toDocument) },
      text: `Removed ${formatCount(orphans)}`,
      status,
    };
  },
});

function noCloudError(driver: string): SlipwayError {
  return new SlipwayError('USAGE', `The driver ${driver} has no cloud resources`, {
    hint: 'To list machines: slipway ls',
  });
}

/** Shows the list above the question, on stderr like the question itself. */
async function confirmRemoval(orphans: readonly Orphan[], text: string, cli: Cli): Promise<boolean> {
  cli.say(text);
  const { confirm } = await import('../../terminal/questions.ts');
  return confirm(`Remove ${formatCount(orphans)}?`, false);
}

function listingResult(
  orphans: readonly Orphan[],
  { world: { now }, interactive }: Cli,
  { allHomes, status }: { readonly allHomes: boolean; readonly status: number },
): CommandResult {
  const json = { found: orphans.map(toDocument) };
  if (orphans.length === 0) return { json, text: status === 0 ? 'No orphaned resources found' : '', status };
  const rows = orphans.map((orphan) => [
    orphan.driver,
    orphan.kind,
    orphan.resource,
    orphan.place,
    orphan.state,
    orphan.name,
    orphan.createdAt ? formatAge(orphan.createdAt, now()) : '',
    orphan.monthly === undefined ? '?' : `$${orphan.monthly.toFixed(2)}`,
    ...(allHomes ? [orphan.home] : []),
  ]);
  const head = [
    'DRIVER',
    'KIND',
    'RESOURCE',
    'PLACE',
    'STATE',
    'MACHINE',
    'AGE',
    'MONTHLY COST',
    ...(allHomes ? ['HOME'] : []),
  ];
  const next = allHomes
    ? 'To remove the resources of one store: slipway gc --home ID'
    : interactive
      ? ''
      : 'To remove them: slipway gc --yes';
  return { json, text: [formatTable(head, rows), formatTotal(orphans), next].filter(Boolean).join('\n'), status };
}

function formatCount({ length }: readonly Orphan[]): string {
  return length === 1 ? '1 resource' : `${length} resources`;
}

function formatTotal(orphans: readonly Orphan[]): string {
  const known = orphans.flatMap(({ monthly }) => monthly ?? []);
  if (known.length === 0) return '';
  const sum = known.reduce((left, right) => left + right, 0);
  const more = known.length < orphans.length ? ', without resources of unknown price' : '';
  return `About $${sum.toFixed(2)} a month at list prices${more}`;
}

function toDocument({
  driver,
  kind,
  resource,
  place,
  state,
  id,
  index,
  name,
  home,
  createdAt,
  monthly,
}: Orphan): object {
  const known = { driver, kind, resource, place, state, id, name, home };
  return { ...known, index: index ?? null, made: createdAt?.toISOString() ?? null, monthly: monthly ?? null };
}

/** Returns the age as `3 d`, `5 h` or `12 min`. */
function formatAge(since: Date, now: Date): string {
  const minutes = Math.max(0, Math.round((now.getTime() - since.getTime()) / 60_000));
  if (minutes < 120) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} d`;
}

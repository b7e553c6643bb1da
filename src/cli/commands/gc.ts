import { z } from 'zod';
import { exitCodes, SlipwayError } from '../../errors.ts';
import { deleteOrphans, findOrphans, type Orphan } from '../../operations/gc.ts';
import { getDriver } from '../../drivers/registry.ts';
import { optionsFromEnv, parseOptions } from '../../machine/options.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../command.ts';
import { formatError, formatTable } from '../../terminal/text-output.ts';
import {
  cloudOptionSpecs,
  credentialOptionSpecs,
  driverOptionSpecs,
  pickFlagValues,
} from '../../machine-options/option-specs.ts';
import { driverFromFlags } from '../../machine-options/spec-from-flags.ts';
import { setCredentialsForRun } from '../../machine-options/credential-flags.ts';

const args = z.object({
  driver: z.string().optional().meta({ description: 'Ask this driver only', short: 'd', value: 'name' }),
  yes: z.boolean().default(false).meta({ description: 'Remove what is listed, without asking', short: 'y' }),
  home: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'What another store of machines made, by its id', value: 'id' }),
  allHomes: z.boolean().default(false).meta({ description: 'List what all stores made; removes nothing' }),
});

export const gc: Command<typeof args> = defineCommand({
  name: 'gc',
  summary: 'List what clouds have of ours that no machine here knows, and remove it',
  usage: '',
  args,
  extraOptions: [...cloudOptionSpecs, ...credentialOptionSpecs],
  details:
    "Everything that Slipway makes in a cloud carries the id of its machine and of its store of machines, so that nothing is lost when a record is. Costs are the provider's list prices, where they are known.",
  async run({ args: { driver, yes, home, allHomes }, flags }, cli) {
    setCredentialsForRun(flags, cli);
    const named = driver ?? driverFromFlags(flags);
    if (named !== undefined && getDriver(named).kind !== 'cloud') throw noCloudError(named);
    const { orphans, failures } = await findOrphans(
      {
        driver: named === undefined ? undefined : getDriver(named).name,
        home: home !== undefined ? { id: home } : allHomes ? 'all' : 'this',
        optionsOf: ({ name, options }) => {
          const infos = driverOptionSpecs[name] ?? [];
          return parseOptions(options, infos, { ...optionsFromEnv(infos, cli.env), ...pickFlagValues(infos, flags) });
        },
      },
      cli.world,
    );
    for (const { driver: silent, error } of failures) cli.say(`${silent}: ${formatError(error, cli.color)}`);
    const [first] = failures;
    const status = first ? exitCodes[first.error.code] : 0;
    const result = listingResult(orphans, cli, { allHomes, status });
    if (orphans.length === 0 || allHomes) return result;
    if (!yes && !cli.interactive) return result;
    if (!yes && !(await confirmRemoval(orphans, result.text, cli))) return { ...result, text: 'Nothing is removed' };
    await deleteOrphans(orphans, cli.world);
    return {
      json: { removed: orphans.map(toDocument) },
      text: `${orphans.length === 1 ? 'It is' : `All ${orphans.length} are`} removed`,
      status,
    };
  },
});

function noCloudError(driver: string): SlipwayError {
  return new SlipwayError('USAGE', `The driver ${driver} makes nothing in a cloud, so there is nothing to look for`, {
    hint: 'Machines that have a record: slipway ls',
  });
}

/** The list is shown above the question, on the way that questions take. */
async function confirmRemoval(strays: readonly Orphan[], text: string, cli: Cli): Promise<boolean> {
  cli.say(text);
  const { confirm } = await import('../../terminal/questions.ts');
  return confirm(`Remove ${strays.length === 1 ? 'it' : `all ${strays.length}`}?`, false);
}

function listingResult(
  strays: readonly Orphan[],
  { world: { now }, interactive }: Cli,
  { allHomes, status }: { readonly allHomes: boolean; readonly status: number },
): CommandResult {
  const json = { found: strays.map(toDocument) };
  if (strays.length === 0) return { json, text: status === 0 ? 'Nothing is left over' : '', status };
  const rows = strays.map((stray) => [
    stray.driver,
    stray.kind,
    stray.resource,
    stray.place,
    stray.state,
    stray.name,
    stray.made ? formatAge(stray.made, now()) : '',
    stray.monthly === undefined ? '?' : `$${stray.monthly.toFixed(2)}`,
    ...(allHomes ? [stray.home] : []),
  ]);
  const head = [
    'DRIVER',
    'KIND',
    'RESOURCE',
    'PLACE',
    'STATE',
    'MACHINE',
    'AGE',
    'A MONTH',
    ...(allHomes ? ['HOME'] : []),
  ];
  const next = allHomes
    ? 'To remove what one of these stores made: slipway gc --home <id>'
    : interactive
      ? ''
      : 'To remove all of it: slipway gc --yes';
  return { json, text: [formatTable(head, rows), formatTotal(strays), next].filter(Boolean).join('\n'), status };
}

function formatTotal(strays: readonly Orphan[]): string {
  const known = strays.flatMap(({ monthly }) => monthly ?? []);
  if (known.length === 0) return '';
  const sum = known.reduce((left, right) => left + right, 0);
  const more = known.length < strays.length ? ', and what has no known price' : '';
  return `About $${sum.toFixed(2)} a month at list prices${more}`;
}

function toDocument({ driver, kind, resource, place, state, id, index, name, home, made, monthly }: Orphan): object {
  const known = { driver, kind, resource, place, state, id, name, home };
  return { ...known, index: index ?? null, made: made?.toISOString() ?? null, monthly: monthly ?? null };
}

/** `3 d`, `5 h`, `12 min`. */
function formatAge(since: Date, now: Date): string {
  const minutes = Math.max(0, Math.round((now.getTime() - since.getTime()) / 60_000));
  if (minutes < 120) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} d`;
}

import { z } from 'zod';
import { exitCodes, SlipwayError } from '../../errors.ts';
import { discardStrays, findStrays, type Stray } from '../../operations/gc.ts';
import { driverNamed } from '../../drivers/registry.ts';
import { fromEnv, parseOptions } from '../../machine/options.ts';
import { defineCommand, type Cli, type Command, type Result } from '../command.ts';
import { shownError, table } from '../../terminal/print.ts';
import { cloudInfos, credentialInfos, driverIn, driverInfos, lendCredentials, valuesOf } from '../spec.ts';

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
  words: '',
  args,
  more: [...cloudInfos, ...credentialInfos],
  details:
    'Everything that Slipway makes in a cloud carries the id of its machine and of its store of machines, so that nothing is lost when a record is. Costs are the provider’s list prices, where they are known.',
  async run({ args: { driver, yes, home, allHomes }, flags }, cli) {
    lendCredentials(flags, cli);
    const named = driver ?? driverIn(flags);
    if (named !== undefined && !driverNamed(named).owned) throw noCloud(named);
    const { strays, unasked } = await findStrays(
      {
        driver: named === undefined ? undefined : driverNamed(named).name,
        home: home !== undefined ? { id: home } : allHomes ? 'all' : 'this',
        optionsOf: ({ name, options }) => {
          const infos = driverInfos[name] ?? [];
          return parseOptions(options, infos, { ...fromEnv(infos, cli.env), ...valuesOf(infos, flags) });
        },
      },
      cli.world,
    );
    for (const { driver: silent, error } of unasked) cli.say(`${silent}: ${shownError(error, cli.color)}`);
    const [first] = unasked;
    const status = first ? exitCodes[first.error.code] : 0;
    const result = listing(strays, cli, { allHomes, status });
    if (strays.length === 0 || allHomes) return result;
    if (!yes && !cli.interactive) return result;
    if (!yes && !(await agreed(strays, result.text, cli))) return { ...result, text: 'Nothing is removed' };
    await discardStrays(strays, cli.world);
    return {
      json: { removed: strays.map(shown) },
      text: `${strays.length === 1 ? 'It is' : `All ${strays.length} are`} removed`,
      status,
    };
  },
});

function noCloud(driver: string): SlipwayError {
  return new SlipwayError('USAGE', `The driver ${driver} makes nothing in a cloud, so there is nothing to look for`, {
    hint: 'Machines that have a record: slipway ls',
  });
}

/** The list is shown above the question, on the way that questions take. */
async function agreed(strays: readonly Stray[], text: string, cli: Cli): Promise<boolean> {
  cli.say(text);
  const { confirmed } = await import('../wizard.ts');
  return confirmed(`Remove ${strays.length === 1 ? 'it' : `all ${strays.length}`}?`, false);
}

function listing(
  strays: readonly Stray[],
  { world: { now }, interactive }: Cli,
  { allHomes, status }: { readonly allHomes: boolean; readonly status: number },
): Result {
  const json = { found: strays.map(shown) };
  if (strays.length === 0) return { json, text: status === 0 ? 'Nothing is left over' : '', status };
  const rows = strays.map((stray) => [
    stray.driver,
    stray.kind,
    stray.resource,
    stray.place,
    stray.state,
    stray.name,
    stray.made ? age(stray.made, now()) : '',
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
  return { json, text: [table(head, rows), total(strays), next].filter(Boolean).join('\n'), status };
}

function total(strays: readonly Stray[]): string {
  const known = strays.flatMap(({ monthly }) => monthly ?? []);
  if (known.length === 0) return '';
  const sum = known.reduce((left, right) => left + right, 0);
  const more = known.length < strays.length ? ', and what has no known price' : '';
  return `About $${sum.toFixed(2)} a month at list prices${more}`;
}

function shown({ driver, kind, resource, place, state, id, index, name, home, made, monthly }: Stray): object {
  const known = { driver, kind, resource, place, state, id, name, home };
  return { ...known, index: index ?? null, made: made?.toISOString() ?? null, monthly: monthly ?? null };
}

/** `3 d`, `5 h`, `12 min`. */
function age(since: Date, now: Date): string {
  const minutes = Math.max(0, Math.round((now.getTime() - since.getTime()) / 60_000));
  if (minutes < 120) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} d`;
}

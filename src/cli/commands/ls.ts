import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { shownDeadline } from '../../lifecycle/life.ts';
import { lookAt, type Look } from '../../look.ts';
import { currentContext } from '../../provision/profiles/current-context.ts';
import { contextName } from '../../provision/profiles/docker-context.ts';
import type { Listed } from '../../store.ts';
import { defineCommand, type Cli, type Command, type Result } from '../command.ts';
import { parseFilters, passesByRecord, passesByState, type Filters, type State } from '../filter.ts';
import { formatOption, rowsFormat, type RowsFormat } from '../format.ts';
import { table } from '../print.ts';
import { watch } from '../watch.ts';

const args = z.object({
  quiet: z
    .boolean()
    .default(false)
    .meta({ description: 'Print names only; asks machines for a filter by state alone', short: 'q' }),
  filter: z
    .array(z.string())
    .default([])
    .meta({ description: 'Show these only: name=PATTERN, driver=…, state=…, label=KEY[=VALUE]', value: 'key=value' }),
  format: z.string().optional().meta(formatOption('.Name')),
  timeout: z
    .int()
    .min(1)
    .max(600)
    .default(5)
    .meta({ description: 'Seconds that a machine may take to answer', short: 't', value: 'seconds' }),
  watch: z.boolean().default(false).meta({ description: 'Look again and again, until Ctrl-C', short: 'w' }),
  interval: z
    .int()
    .min(1)
    .max(3600)
    .default(2)
    .meta({ description: 'Seconds between two looks, with --watch', value: 'seconds' }),
});

type Row = {
  readonly name: string;
  readonly current: boolean;
  readonly driver: string;
  readonly state: State;
  readonly url: string;
  readonly engine: string;
  readonly certificateDays: number | null;
  readonly deadline: string | null;
  readonly idleStop: string | null;
  readonly trouble: string;
};

/** Fields of a format, and their titles in a table. */
const TITLES = {
  Name: 'NAME',
  Current: 'CURRENT',
  Driver: 'DRIVER',
  State: 'STATE',
  URL: 'URL',
  Engine: 'ENGINE',
  CertificateDays: 'CERTS',
  Deadline: 'DEADLINE',
  IdleStop: 'IDLE STOP',
  Trouble: 'TROUBLE',
} as const;

type Wanted = {
  readonly quiet: boolean;
  readonly timeout: number;
  readonly filters: Filters;
  readonly format: RowsFormat | undefined;
};

export const ls: Command<typeof args> = defineCommand({
  name: 'ls',
  summary: 'List machines, and how each of them is',
  words: '',
  details: `Filters of one key add up, those of several keys narrow down. Fields of a format: ${Object.keys(TITLES)
    .map((field) => `.${field}`)
    .join(' ')}; with "table " in front it has titles and columns: --format "table {{.Name}}\\t{{.State}}".`,
  args,
  async run({ args: given }, cli) {
    const { quiet, timeout } = given;
    const filters = parseFilters(given.filter);
    const format = rowsFormat(given.format, TITLES, cli.screen.json);
    if (quiet && format) throw bothSay();
    const look = (): Promise<Result> => listing({ quiet, timeout, filters, format }, cli);
    return given.watch ? await watch(look, given.interval, cli) : await look();
  },
});

function bothSay(): SlipwayError {
  return new SlipwayError('USAGE', '--quiet and --format both say what is printed', {
    hint: 'Leave out one of them; names by a template are --format "{{.Name}}"',
  });
}

async function listing({ quiet, timeout, filters, format }: Wanted, cli: Cli): Promise<Result> {
  const all = await cli.world.store.list();
  const listed = all.filter((item) => passesByRecord(item, filters));
  if (quiet && !filters.has('state')) return namesOf(listed);
  const current = quiet ? undefined : await currentOf(cli);
  const asked = await Promise.all(
    listed.map(async (item) => ({ item, row: await rowOf(item, current, timeout, cli) })),
  );
  const rows = asked.filter(({ item, row }) => passesByState(item, row.state, filters)).map(({ row }) => row);
  if (quiet) return namesOf(rows);
  if (format) return { json: rows, text: format(rows.map(fieldsOf)) };
  if (all.length === 0) return { json: rows, text: 'No machines yet. Make one: slipway create' };
  if (rows.length === 0) return { json: rows, text: 'No machine is like that. All of them: slipway ls' };
  return { json: rows, text: shown(rows, cli.world.now()) };
}

function namesOf(items: readonly { readonly name: string }[]): Result {
  return { json: items.map(({ name }) => name), text: items.map(({ name }) => name).join('\n') };
}

function currentOf({ world, say }: Cli): Promise<string | undefined> {
  return currentContext(world.places).catch((error: unknown) => {
    // The docker CLI's settings are broken, not the machines.
    if (!(error instanceof SlipwayError)) throw error;
    say(error.message);
    return undefined;
  });
}

function fieldsOf(row: Row): Readonly<Record<keyof typeof TITLES, unknown>> {
  return {
    Name: row.name,
    Current: row.current ? '*' : '',
    Driver: row.driver,
    State: row.state,
    URL: row.url,
    Engine: row.engine,
    CertificateDays: row.certificateDays ?? '',
    Deadline: row.deadline ?? '',
    IdleStop: row.idleStop ?? '',
    Trouble: row.trouble,
  };
}

function shown(rows: readonly Row[], now: Date): string {
  const mortal = rows.some(({ deadline }) => deadline !== null);
  const ends = ({ deadline }: Row): readonly string[] =>
    mortal ? [deadline === null ? '' : shownDeadline({ deadline }, now)] : [];
  const cells = rows.map((row) => [
    row.name,
    row.current ? '*' : '',
    row.driver,
    row.state,
    row.url,
    row.engine,
    shownDays(row.certificateDays),
    ...ends(row),
    row.trouble,
  ]);
  const { Name, Current, Driver, State, URL, Engine, CertificateDays, Deadline, Trouble } = TITLES;
  const ending = mortal ? [Deadline] : [];
  return table([Name, Current, Driver, State, URL, Engine, CertificateDays, ...ending, Trouble], cells);
}

/** The row’s trouble has it in words, once it is one. */
function shownDays(days: number | null): string {
  if (days === null) return '';
  return days < 0 ? 'expired' : `${days} d`;
}

async function rowOf(item: Listed, current: string | undefined, seconds: number, { world }: Cli): Promise<Row> {
  const isCurrent = current === contextName(item.name);
  if ('broken' in item) {
    return {
      name: item.name,
      current: isCurrent,
      driver: '?',
      state: 'broken',
      url: '',
      engine: '',
      certificateDays: null,
      deadline: null,
      idleStop: null,
      trouble: item.broken.message,
    };
  }
  const { machine } = item;
  const look: Look = await lookAt(machine, world, seconds).catch((error: unknown) => {
    // One machine whose files can't be read must not hide the others.
    if (world.signal.aborted) throw error;
    return {
      state: 'unreachable',
      engine: undefined,
      days: undefined,
      trouble: error instanceof Error ? error.message : String(error),
    };
  });
  return {
    name: item.name,
    current: isCurrent,
    driver: machine.spec.driver,
    state: look.state,
    url: machine.endpoint?.url ?? '',
    engine: look.engine ?? '',
    certificateDays: look.days ?? null,
    deadline: machine.deadline ?? null,
    idleStop: machine.spec.life?.idleStop ?? null,
    trouble: look.trouble,
  };
}

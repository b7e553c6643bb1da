import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { defineCommand, type Cli, type Command, type Result } from '../command.ts';
import { parseFilters, passesByRecord, passesByState, type Filters } from '../filter.ts';
import { formatOption } from '../format-option.ts';
import type { RowsFormat } from '../../terminal/format.ts';
import { TITLES } from '../row.ts';

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
    const format = await formatIn(given.format, cli);
    if (quiet && format) throw bothSay();
    const look = (): Promise<Result> => listing({ quiet, timeout, filters, format }, cli);
    return given.watch ? await (await import('../watch.ts')).watch(look, given.interval, cli) : await look();
  },
});

async function formatIn(text: string | undefined, { screen }: Cli): Promise<RowsFormat | undefined> {
  return text === undefined
    ? undefined
    : (await import('../../terminal/format.ts')).rowsFormat(text, TITLES, screen.json);
}

function bothSay(): SlipwayError {
  return new SlipwayError('USAGE', '--quiet and --format both say what is printed', {
    hint: 'Leave out one of them; names by a template are --format "{{.Name}}"',
  });
}

async function listing({ quiet, timeout, filters, format }: Wanted, cli: Cli): Promise<Result> {
  const { store } = cli.world;
  // Names alone are had without a look into a thousand records.
  if (quiet && filters.size === 0) return namesIn(await store.recorded());
  const all = await store.list();
  const listed = all.filter((item) => passesByRecord(item, filters));
  if (quiet && !filters.has('state')) return namesIn(listed.map(({ name }) => name));
  // What asks machines and draws a table is read where there is to be one.
  const { fieldsOf, rowsOf, shown } = await import('../rows.ts');
  const asked = await rowsOf(listed, { quiet, timeout }, cli);
  const rows = asked.filter(({ item, row }) => passesByState(item, row.state, filters)).map(({ row }) => row);
  if (quiet) return namesIn(rows.map(({ name }) => name));
  if (format) return { json: rows, text: format(rows.map(fieldsOf)) };
  if (all.length === 0) return { json: rows, text: 'No machines yet. Make one: slipway create' };
  if (rows.length === 0) return { json: rows, text: 'No machine is like that. All of them: slipway ls' };
  return { json: rows, text: shown(rows, cli.world.now()) };
}

function namesIn(names: readonly string[]): Result {
  return { json: names, text: names.join('\n') };
}

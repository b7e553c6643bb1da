import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../command.ts';
import { parseFilters, isRecordMatch, isStateMatch, type Filters } from '../machine-filter.ts';
import { formatOptionMeta } from '../format-option.ts';
import type { RowsFormatter } from '../../terminal/output-format.ts';
import { COLUMN_TITLES } from '../machine-list-row.ts';

const args = z.object({
  quiet: z
    .boolean()
    .default(false)
    .meta({ description: 'Print names only; asks machines for a filter by state alone', short: 'q' }),
  filter: z
    .array(z.string())
    .default([])
    .meta({ description: 'Show these only: name=PATTERN, driver=…, state=…, label=KEY[=VALUE]', value: 'key=value' }),
  format: z.string().optional().meta(formatOptionMeta('.Name')),
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

type LsOptions = {
  readonly quiet: boolean;
  readonly timeout: number;
  readonly filters: Filters;
  readonly format: RowsFormatter | undefined;
};

export const ls: Command<typeof args> = defineCommand({
  name: 'ls',
  summary: 'List machines, and how each of them is',
  usage: '',
  details: `Filters of one key add up, those of several keys narrow down. Fields of a format: ${Object.keys(
    COLUMN_TITLES,
  )
    .map((field) => `.${field}`)
    .join(' ')}; with "table " in front it has titles and columns: --format "table {{.Name}}\\t{{.State}}".`,
  args,
  async run({ args: given }, cli) {
    const { quiet, timeout } = given;
    const filters = parseFilters(given.filter);
    const format = await loadRowsFormat(given.format, cli);
    if (quiet && format) throw conflictingOutputError();
    const look = (): Promise<CommandResult> => listMachines({ quiet, timeout, filters, format }, cli);
    return given.watch ? await (await import('../watch.ts')).watch(look, given.interval, cli) : await look();
  },
});

async function loadRowsFormat(text: string | undefined, { screen }: Cli): Promise<RowsFormatter | undefined> {
  return text === undefined
    ? undefined
    : (await import('../../terminal/output-format.ts')).compileRowsFormat(text, COLUMN_TITLES, screen.json);
}

function conflictingOutputError(): SlipwayError {
  return new SlipwayError('USAGE', '--quiet and --format both say what is printed', {
    hint: 'Leave out one of them; names by a template are --format "{{.Name}}"',
  });
}

async function listMachines({ quiet, timeout, filters, format }: LsOptions, cli: Cli): Promise<CommandResult> {
  const { store } = cli.world;
  // Names alone are had without a look into a thousand records.
  if (quiet && filters.size === 0) return namesResult(await store.listRecordedNames());
  const all = await store.list();
  const listed = all.filter((item) => isRecordMatch(item, filters));
  if (quiet && !filters.has('state')) return namesResult(listed.map(({ name }) => name));
  // What asks machines and draws a table is read where there is to be one.
  const { toFormatFields, loadRows, formatRows } = await import('../machine-list.ts');
  const asked = await loadRows(listed, { quiet, timeout }, cli);
  const rows = asked.filter(({ item, row }) => isStateMatch(item, row.state, filters)).map(({ row }) => row);
  if (quiet) return namesResult(rows.map(({ name }) => name));
  if (format) return { json: rows, text: format(rows.map(toFormatFields)) };
  if (all.length === 0) return { json: rows, text: 'No machines yet. Make one: slipway create' };
  if (rows.length === 0) return { json: rows, text: 'No machine is like that. All of them: slipway ls' };
  return { json: rows, text: formatRows(rows, cli.world.now()) };
}

function namesResult(names: readonly string[]): CommandResult {
  return { json: names, text: names.join('\n') };
}

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
    .meta({ description: 'Print names only; queries machines only for a filter by state', short: 'q' }),
  filter: z
    .array(z.string())
    .default([])
    .meta({ description: 'Filter the list: name=PATTERN, driver=…, state=…, label=KEY[=VALUE]', value: 'key=value' }),
  format: z.string().optional().meta(formatOptionMeta('.Name')),
  timeout: z
    .int()
    .min(1)
    .max(600)
    .default(5)
    .meta({ description: 'Seconds to wait for the answer of a machine', short: 't', value: 'seconds' }),
  watch: z.boolean().default(false).meta({ description: 'Update the list until Ctrl-C', short: 'w' }),
  interval: z
    .int()
    .min(1)
    .max(3600)
    .default(2)
    .meta({ description: 'Seconds between two updates, with --watch', value: 'seconds' }),
});

type LsOptions = {
  readonly quiet: boolean;
  readonly timeout: number;
  readonly filters: Filters;
  readonly format: RowsFormatter | undefined;
};

export const ls: Command<typeof args> = defineCommand({
  name: 'ls',
  summary: 'List machines and their state',
  usage: '',
  details: `Filters with the same key are alternatives; filters with different keys must all match. Fields for --format: ${Object.keys(
    COLUMN_TITLES,
  )
    .map((field) => `.${field}`)
    .join(' ')}; "table " at the beginning adds titles and columns: --format "table {{.Name}}\\t{{.State}}".`,
  args,
  async run({ args: { filter, format: template, interval, quiet, timeout, watch } }, cli) {
    const filters = parseFilters(filter);
    const format = await loadRowsFormat(template, cli);
    if (quiet && format) throw conflictingOutputError();
    const list = (): Promise<CommandResult> => listMachines({ quiet, timeout, filters, format }, cli);
    if (!watch) return await list();
    const { watch: repeat } = await import('../watch.ts');
    return await repeat(list, interval, cli);
  },
});

async function loadRowsFormat(text: string | undefined, { screen }: Cli): Promise<RowsFormatter | undefined> {
  return text === undefined
    ? undefined
    : (await import('../../terminal/output-format.ts')).compileRowsFormat(text, COLUMN_TITLES, screen.json);
}

function conflictingOutputError(): SlipwayError {
  return new SlipwayError('USAGE', "--quiet and --format can't be used together", {
    hint: 'To print names by a template: --format "{{.Name}}"',
  });
}

async function listMachines({ quiet, timeout, filters, format }: LsOptions, cli: Cli): Promise<CommandResult> {
  const { store } = cli.world;
  // Names are known without reading the records, of which there may be thousands.
  if (quiet && filters.size === 0) return namesResult(await store.listRecordedNames());
  const all = await store.list();
  const listed = all.filter((item) => isRecordMatch(item, filters));
  if (quiet && !filters.has('state')) return namesResult(listed.map(({ name }) => name));
  // The code that queries machines and draws tables is loaded only if it is needed.
  const { toFormatFields, loadRows, formatRows } = await import('../machine-list.ts');
  const loaded = await loadRows(listed, { quiet, timeout }, cli);
  const rows = loaded.filter(({ item, row }) => isStateMatch(item, row.state, filters)).map(({ row }) => row);
  if (quiet) return namesResult(rows.map(({ name }) => name));
  if (format) return { json: rows, text: format(rows.map(toFormatFields)) };
  if (all.length === 0) return { json: rows, text: 'No machines yet. To create one: slipway create' };
  if (rows.length === 0) return { json: rows, text: 'No machines match. To list all: slipway ls' };
  return { json: rows, text: formatRows(rows, cli.world.now()) };
}

function namesResult(names: readonly string[]): CommandResult {
  return { json: names, text: names.join('\n') };
}

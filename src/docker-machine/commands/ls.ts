import { sanitizeData } from '../../terminal/output-format.ts';
import { parseTemplate, formatTable, TemplateError, type Template } from '../../go-template/index.ts';
import { defineDockerMachineCommand, type DockerMachineInvocation } from '../docker-machine-command.ts';
import { DockerMachineError } from '../docker-machine-error.ts';
import { getMachineStateWithin } from '../machine-arguments.ts';
import {
  brokenRow,
  loadMachineConfigs,
  swarmMastersOf,
  isMatchingFilters,
  loadRow,
  COLUMN_TITLES,
  type DockerMachineLsFilter,
  type MachineWithConfig,
  type SwarmMasters,
  type DockerMachineLsRow,
} from '../ls-rows.ts';

const DEFAULT_FORMAT =
  'table {{ .Name }}\\t{{ .Active }}\\t{{ .DriverName}}\\t{{ .State }}\\t{{ .URL }}\\t{{ .Swarm }}\\t{{ .DockerVersion }}\\t{{ .Error}}';
const FILTER_KEYS = ['name', 'driver', 'state', 'swarm', 'label'] as const;

export const ls = defineDockerMachineCommand({
  name: 'ls',
  summary: 'List machines',
  argsUsage: '[arg...]',
  flags: [
    { names: ['quiet', 'q'], kind: 'switch', usage: 'Enable quiet mode' },
    { names: ['filter'], kind: 'list', usage: 'Filter output based on conditions provided' },
    { names: ['timeout', 't'], kind: 'number', usage: 'Timeout in seconds, default to 10s', defaultValue: 10 },
    { names: ['format', 'f'], kind: 'text', usage: 'Pretty-print machines using a Go template' },
  ],
  async run(call) {
    const { print, values, world } = call;
    const filters = (values.filter as readonly string[]).map(parseFilter);
    const seconds = Math.max(1, Number(values.timeout));
    const format = parseFormat(typeof values.format === 'string' ? values.format : DEFAULT_FORMAT);
    const listed = await world.store.list();
    const machines = await loadMachineConfigs(listed, call);
    const masters = swarmMastersOf(machines);
    const selected = await selectMachines(machines, filters, masters, seconds, call);
    if (values.quiet === true) {
      for (const { name } of selected) print(name);
      return;
    }
    const broken = listed.flatMap((item) => ('broken' in item ? [brokenRow(item.name, item.broken.message)] : []));
    const rows = await Promise.all(selected.map(async (machine) => loadRow(machine, masters, seconds, call)));
    for (const line of formatRows(sortLike(listed, [...rows, ...broken]), format)) print(line);
  },
});

/** Sorts rows in the order in which the store lists the machines. */
function sortLike(
  listed: readonly { readonly name: string }[],
  rows: readonly DockerMachineLsRow[],
): readonly DockerMachineLsRow[] {
  const order = new Map(listed.map(({ name }, index) => [name, index]));
  return rows.toSorted((left, right) => (order.get(left.Name) ?? 0) - (order.get(right.Name) ?? 0));
}

function parseFilter(text: string): DockerMachineLsFilter {
  const [, key, value] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new DockerMachineError('Unsupported filter syntax');
  const known = FILTER_KEYS.find((candidate) => candidate === key.toLowerCase());
  if (known === undefined) throw new DockerMachineError(`Unsupported filter key '${key}'`);
  if (known === 'name') requireRegExp(value);
  return { key: known, value };
}

/** Refuses an invalid regular expression before any machine is queried. */
function requireRegExp(value: string): void {
  try {
    void new RegExp(value);
  } catch {
    throw new DockerMachineError(`Unsupported filter syntax: ${JSON.stringify(value)} is not a regular expression`);
  }
}

/**
 * Returns the machines that match. Queries states only if a filter needs them, of all machines at the same time, for at
 * most `seconds`.
 */
async function selectMachines(
  machines: readonly MachineWithConfig[],
  filters: readonly DockerMachineLsFilter[],
  masters: SwarmMasters,
  seconds: number,
  { world }: DockerMachineInvocation,
): Promise<readonly MachineWithConfig[]> {
  const others = filters.filter(({ key }) => key !== 'state');
  const candidates = machines.filter((machine) => isMatchingFilters(others, machine, masters, undefined));
  if (others.length === filters.length) return candidates;
  const states = await Promise.all(
    candidates.map(async ({ machine }) => (await getMachineStateWithin(machine, world, seconds))?.state ?? 'Timeout'),
  );
  return candidates.filter((machine, index) => isMatchingFilters(filters, machine, masters, states[index]));
}

type LsFormat = { readonly template: Template; readonly hasHeader: boolean };

function parseFormat(text: string): LsFormat {
  const hasHeader = text.startsWith('table');
  const body = (hasHeader ? text.slice('table'.length).trimStart() : text)
    .replaceAll(String.raw`\t`, '\t')
    .replaceAll(String.raw`\n`, '\n');
  return { template: runWithTemplateErrors(() => parseTemplate(body)), hasHeader };
}

function runWithTemplateErrors<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new DockerMachineError(`Template parsing error: ${error.message}`, { cause: error });
  }
}

function formatRows(rows: readonly DockerMachineLsRow[], { template, hasHeader }: LsFormat): readonly string[] {
  // Rows are strict: a misspelled field is an error, not an empty value.
  const lines = runWithTemplateErrors(() =>
    [...(hasHeader ? [COLUMN_TITLES] : []), ...rows].map((row) => template.render(sanitizeData(row), { strict: true })),
  );
  return hasHeader ? formatTable(lines) : lines;
}

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
    const all = await loadMachineConfigs(listed, call);
    const masters = swarmMastersOf(all);
    const chosen = await selectMachines(all, filters, masters, seconds, call);
    if (values.quiet === true) {
      for (const { name } of chosen) print(name);
      return;
    }
    const broken = listed.flatMap((one) => ('broken' in one ? [brokenRow(one.name, one.broken.message)] : []));
    const rows = await Promise.all(chosen.map(async (one) => loadRow(one, masters, seconds, call)));
    const order = new Map(listed.map(({ name }, at) => [name, at]));
    const sorted = [...rows, ...broken].toSorted(
      (left, right) => (order.get(left.Name) ?? 0) - (order.get(right.Name) ?? 0),
    );
    for (const line of formatRows(sorted, format)) print(line);
  },
});

function parseFilter(text: string): DockerMachineLsFilter {
  const [, key, value] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new DockerMachineError('Unsupported filter syntax');
  const found = FILTER_KEYS.find((one) => one === key.toLowerCase());
  if (found === undefined) throw new DockerMachineError(`Unsupported filter key '${key}'`);
  if (found === 'name') requireRegExp(value);
  return { key: found, value };
}

/** Refused before any machine is asked. */
function requireRegExp(value: string): RegExp {
  try {
    return new RegExp(value);
  } catch {
    throw new DockerMachineError(`Unsupported filter syntax: ${JSON.stringify(value)} is no regular expression`);
  }
}

/** Machines are asked for their state only where a filter wants it, all at once, and within the time. */
async function selectMachines(
  all: readonly MachineWithConfig[],
  filters: readonly DockerMachineLsFilter[],
  masters: SwarmMasters,
  seconds: number,
  { world }: DockerMachineInvocation,
): Promise<readonly MachineWithConfig[]> {
  const others = filters.filter(({ key }) => key !== 'state');
  const passing = all.filter((one) => isMatchingFilters(others, one, masters, undefined));
  if (others.length === filters.length) return passing;
  const states = await Promise.all(
    passing.map(async ({ machine }) => (await getMachineStateWithin(machine, world, seconds))?.state ?? 'Timeout'),
  );
  return passing.filter((one, at) => isMatchingFilters(filters, one, masters, states[at]));
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
  // A field that no row has is a mistake, not an empty value.
  const lines = runWithTemplateErrors(() =>
    [...(hasHeader ? [COLUMN_TITLES] : []), ...rows].map((row) => template.render(sanitizeData(row), { strict: true })),
  );
  return hasHeader ? formatTable(lines) : lines;
}

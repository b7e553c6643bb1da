import { harmless } from '../../terminal/format.ts';
import { parseTemplate, table, TemplateError, type Template } from '../../go-template/index.ts';
import { defineOld, type Call } from '../command.ts';
import { Failure } from '../failure.ts';
import { stateWithin } from '../machines.ts';
import {
  brokenRow,
  known,
  mastersOf,
  passes,
  rowOf,
  TITLES,
  type Filter,
  type Known,
  type Masters,
  type Row,
} from '../rows.ts';

const FORMAT =
  'table {{ .Name }}\\t{{ .Active }}\\t{{ .DriverName}}\\t{{ .State }}\\t{{ .URL }}\\t{{ .Swarm }}\\t{{ .DockerVersion }}\\t{{ .Error}}';
const KEYS = ['name', 'driver', 'state', 'swarm', 'label'] as const;

export const ls = defineOld({
  name: 'ls',
  summary: 'List machines',
  operands: '[arg...]',
  flags: [
    { names: ['quiet', 'q'], kind: 'switch', usage: 'Enable quiet mode' },
    { names: ['filter'], kind: 'list', usage: 'Filter output based on conditions provided' },
    { names: ['timeout', 't'], kind: 'number', usage: 'Timeout in seconds, default to 10s', initial: 10 },
    { names: ['format', 'f'], kind: 'text', usage: 'Pretty-print machines using a Go template' },
  ],
  async run(call) {
    const { out, values, world } = call;
    const filters = (values.filter as readonly string[]).map(filterIn);
    const seconds = Math.max(1, Number(values.timeout));
    const format = formatIn(typeof values.format === 'string' ? values.format : FORMAT);
    const listed = await world.store.list();
    const all = await known(listed, call);
    const masters = mastersOf(all);
    const chosen = await those(all, filters, masters, seconds, call);
    if (values.quiet === true) {
      for (const { name } of chosen) out(name);
      return;
    }
    const broken = listed.flatMap((one) => ('broken' in one ? [brokenRow(one.name, one.broken.message)] : []));
    const rows = await Promise.all(chosen.map(async (one) => rowOf(one, masters, seconds, call)));
    const order = new Map(listed.map(({ name }, at) => [name, at]));
    const sorted = [...rows, ...broken].toSorted(
      (left, right) => (order.get(left.Name) ?? 0) - (order.get(right.Name) ?? 0),
    );
    for (const line of shown(sorted, format)) out(line);
  },
});

function filterIn(text: string): Filter {
  const [, key, value] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new Failure('Unsupported filter syntax');
  const found = KEYS.find((one) => one === key.toLowerCase());
  if (found === undefined) throw new Failure(`Unsupported filter key '${key}'`);
  if (found === 'name') patternIn(value);
  return { key: found, value };
}

/** Refused before any machine is asked. */
function patternIn(value: string): RegExp {
  try {
    return new RegExp(value);
  } catch {
    throw new Failure(`Unsupported filter syntax: ${JSON.stringify(value)} is no regular expression`);
  }
}

/** Machines are asked for their state only where a filter wants it, all at once, and within the time. */
async function those(
  all: readonly Known[],
  filters: readonly Filter[],
  masters: Masters,
  seconds: number,
  { world }: Call,
): Promise<readonly Known[]> {
  const others = filters.filter(({ key }) => key !== 'state');
  const passing = all.filter((one) => passes(others, one, masters, undefined));
  if (others.length === filters.length) return passing;
  const states = await Promise.all(
    passing.map(async ({ machine }) => (await stateWithin(machine, world, seconds))?.state ?? 'Timeout'),
  );
  return passing.filter((one, at) => passes(filters, one, masters, states[at]));
}

type Format = { readonly template: Template; readonly titled: boolean };

function formatIn(text: string): Format {
  const titled = text.startsWith('table');
  const body = (titled ? text.slice('table'.length).trimStart() : text)
    .replaceAll(String.raw`\t`, '\t')
    .replaceAll(String.raw`\n`, '\n');
  return { template: told(() => parseTemplate(body)), titled };
}

function told<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new Failure(`Template parsing error: ${error.message}`, { cause: error });
  }
}

function shown(rows: readonly Row[], { template, titled }: Format): readonly string[] {
  // A field that no row has is a mistake, not an empty value.
  const lines = told(() =>
    [...(titled ? [TITLES] : []), ...rows].map((row) => template.render(harmless(row), { strict: true })),
  );
  return titled ? table(lines) : lines;
}

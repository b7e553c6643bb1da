import { SlipwayError } from '../errors.ts';
import {
  dockerFunctions,
  parseRowFormat,
  parseTemplate,
  TemplateError,
  type RenderManner,
  type RowFormat,
} from '../go-template/index.ts';
import { nearest } from '../did-you-mean.ts';
import { printable } from './printable.ts';

/** What `--format` makes of one document, and of rows that have titles. */
export type DocumentFormat = (document: unknown) => string;
export type RowsFormat = (rows: readonly unknown[]) => string;

/** A record or a status, of which fields may be absent. Undefined where no format is given. */
export function documentFormat(
  format: string | undefined,
  { json, strict = false }: { readonly json: boolean; readonly strict?: boolean },
): DocumentFormat | undefined {
  if (format === undefined) return undefined;
  refuseBoth(json);
  const template = explained(format, () => parseTemplate(format, dockerFunctions));
  return (document) => explained(format, () => template.render(harmless(document), { ...MANNER, strict }));
}

/** Rows, of which all have the fields that have titles. */
export function rowsFormat(
  format: string | undefined,
  titles: Readonly<Record<string, string>>,
  json: boolean,
): RowsFormat | undefined {
  if (format === undefined) return undefined;
  refuseBoth(json);
  const rows = explained(format, () => parseRowFormat(format, dockerFunctions, { ...MANNER, strict: true }));
  explained(format, () => checkFields(rows, titles));
  return (given) => explained(format, () => rows.render(given.map(harmless), titles).join('\n'));
}

/** A field that no row has is told before any machine is asked; titles in the place of numbers are no mistake. */
function checkFields(rows: RowFormat, titles: Readonly<Record<string, string>>): void {
  try {
    rows.render([titles], titles);
  } catch (error) {
    if (!(error instanceof TemplateError) || error.word !== undefined) throw error;
  }
}

/** A port is a port, also where Go’s decoder would print `1e+06`. */
const MANNER: RenderManner = { numbers: 'int' };

function refuseBoth(json: boolean): void {
  if (!json) return;
  throw new SlipwayError('USAGE', '--format and --json both say what is printed', {
    hint: 'Leave out one of them; JSON by a template is --format "{{json .}}"',
  });
}

function explained<T>(format: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new SlipwayError('USAGE', `--format can’t be used: ${error.message}${placeIn(format, error)}`, {
      hint: hintOf(error),
      cause: error,
    });
  }
}

function placeIn(format: string, { at }: TemplateError): string {
  if (at === undefined || at >= format.length) return '';
  const rest = format.slice(at).split('\n', 1)[0] ?? '';
  return ` (at ${JSON.stringify(rest.length > 24 ? `${rest.slice(0, 24)}…` : rest)})`;
}

function hintOf({ known, word }: TemplateError): string {
  if (known.length === 0) return 'A format is a Go template: --format "{{.field}} {{json .}}"';
  const near = word === undefined ? undefined : nearest(word, known);
  return [...(near === undefined ? [] : [`Did you mean ${near}?`]), `Known are: ${known.join(' ')}`].join(' ');
}

/** What hosts and engines say stands in it, so no text is believed; where it has lines, it keeps them. */
export function harmless(data: unknown): unknown {
  if (typeof data === 'string') return data.split('\n').map(printable).join('\n');
  if (Array.isArray(data)) return data.map(harmless);
  if (typeof data !== 'object' || data === null) return data;
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [printable(key), harmless(value)]));
}

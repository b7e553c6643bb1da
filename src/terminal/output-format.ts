import { SlipwayError } from '../errors.ts';
import {
  dockerCliFunctions,
  parseRowFormat,
  parseTemplate,
  TemplateError,
  type RenderOptions,
  type RowFormat,
} from '../go-template/index.ts';
import { findNearestWord } from '../did-you-mean.ts';
import { sanitizeLine } from './terminal-text.ts';

/** Formats one document with the template of --format. */
export type DocumentFormatter = (document: unknown) => string;
/** Formats rows, with titles if the template asks for a table. */
export type RowsFormatter = (rows: readonly unknown[]) => string;

/** Compiles the format of a document whose fields may be absent. Returns undefined without a format. Throws USAGE. */
export function compileDocumentFormat(
  format: string | undefined,
  { json, strict = false }: { readonly json: boolean; readonly strict?: boolean },
): DocumentFormatter | undefined {
  if (format === undefined) return undefined;
  requireNoJson(json);
  const template = explainTemplateErrors(format, () => parseTemplate(format, dockerCliFunctions));
  return (document) =>
    explainTemplateErrors(format, () => template.render(sanitizeData(document), { ...RENDER_OPTIONS, strict }));
}

/**
 * Compiles the format of rows that all have the fields of `titles`. Returns undefined without a format. Throws USAGE.
 */
export function compileRowsFormat(
  format: string | undefined,
  titles: Readonly<Record<string, string>>,
  json: boolean,
): RowsFormatter | undefined {
  if (format === undefined) return undefined;
  requireNoJson(json);
  const rows = explainTemplateErrors(format, () =>
    parseRowFormat(format, dockerCliFunctions, { ...RENDER_OPTIONS, strict: true }),
  );
  explainTemplateErrors(format, () => requireKnownFields(rows, titles));
  return (given) => explainTemplateErrors(format, () => rows.render(given.map(sanitizeData), titles).join('\n'));
}

/**
 * Refuses an unknown field before any machine is queried, by a trial run on the titles. Other errors of the trial are
 * ignored: a template may expect a number where the trial has a title.
 */
function requireKnownFields(rows: RowFormat, titles: Readonly<Record<string, string>>): void {
  try {
    rows.render([titles], titles);
  } catch (error) {
    if (!(error instanceof TemplateError) || error.word !== undefined) throw error;
  }
}

/** Prints integers as they are, where Go's decoder would print `1e+06`. */
const RENDER_OPTIONS: RenderOptions = { numbers: 'int' };

function requireNoJson(json: boolean): void {
  if (!json) return;
  throw new SlipwayError('USAGE', "--format and --json can't be used together", {
    hint: 'To print JSON by a template: --format "{{json .}}"',
  });
}

function explainTemplateErrors<T>(format: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new SlipwayError('USAGE', `--format can't be used: ${error.message}${formatErrorPosition(format, error)}`, {
      hint: templateErrorHint(error),
      cause: error,
    });
  }
}

function formatErrorPosition(format: string, { at }: TemplateError): string {
  if (at === undefined || at >= format.length) return '';
  const rest = format.slice(at).split('\n', 1)[0] ?? '';
  return ` (at ${JSON.stringify(rest.length > 24 ? `${rest.slice(0, 24)}…` : rest)})`;
}

function templateErrorHint({ known, word }: TemplateError): string {
  if (known.length === 0) return 'A format is a Go template: --format "{{.field}} {{json .}}"';
  const near = word === undefined ? undefined : findNearestWord(word, known);
  return [...(near === undefined ? [] : [`Did you mean ${near}?`]), `Known: ${known.join(' ')}`].join(' ');
}

/** Sanitizes every text in the data, which may come from hosts and engines. Line breaks are kept. */
export function sanitizeData(data: unknown): unknown {
  if (typeof data === 'string') return data.split('\n').map(sanitizeLine).join('\n');
  if (Array.isArray(data)) return data.map(sanitizeData);
  if (typeof data !== 'object' || data === null) return data;
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [sanitizeLine(key), sanitizeData(value)]));
}

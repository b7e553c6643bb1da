import type { TemplateFunctions } from './functions.ts';
import { parseTemplate, type RenderOptions } from './template.ts';

/** A format for rows: with `table` in front, columns with titles; without, each row as it is. */
export type RowFormat = {
  /** Lines of text. Throws TemplateError. */
  render(rows: readonly unknown[], titles: Readonly<Record<string, string>>): readonly string[];
};

/** `\t` and `\n` may be written as such, since shells make no tab of them. Throws TemplateError. */
export function parseRowFormat(format: string, functions: TemplateFunctions, manner: RenderOptions = {}): RowFormat {
  const isTable = format.startsWith('table');
  const text = (isTable ? format.slice('table'.length) : format).replaceAll(/^ +| +$/g, '');
  const template = parseTemplate(text.replaceAll('\\t', '\t').replaceAll('\\n', '\n'), functions);
  const line = (row: unknown): string => template.render(row, manner);
  return {
    // The titles go through the same template, so that they stand where the values do.
    render: (rows, titles) => (isTable ? formatTable([titles, ...rows].map(line)) : rows.map(line)),
  };
}

const MIN_COLUMN_WIDTH = 5;
const COLUMN_GAP = 3;

/** Lines whose cells end with tabs, as columns. */
export function formatTable(lines: readonly string[]): readonly string[] {
  return alignColumns(lines.join('\n')).split('\n');
}

/**
 * Cells end with tabs, and what stands behind the last tab of a line is no cell. A column is as wide as its widest cell, as far as
 * lines that have the column follow each other: Go's tabwriter, as both the old tool and the docker CLI set it.
 */
function alignColumns(text: string): string {
  const lines = text.split('\n').map((line) => line.split('\t'));
  const widths = lines.map((): number[] => []);
  for (const [row, cells] of lines.entries()) {
    for (let column = 0; column < cells.length - 1; column += 1) {
      if (widths[row]?.[column] !== undefined) continue;
      const block = columnHeight(lines, row, column);
      const width = Math.max(...lines.slice(row, row + block).map((line) => cellWidth(line[column] ?? '')));
      for (const mine of widths.slice(row, row + block)) mine[column] = Math.max(MIN_COLUMN_WIDTH, width + COLUMN_GAP);
    }
  }
  return lines
    .map((cells, row) =>
      cells
        .map((cell, column) => cell + ' '.repeat(Math.max(0, (widths[row]?.[column] ?? 0) - cellWidth(cell))))
        .join(''),
    )
    .join('\n');
}

function columnHeight(lines: readonly (readonly string[])[], from: number, column: number): number {
  const end = lines.findIndex((cells, row) => row > from && column >= cells.length - 1);
  return (end < 0 ? lines.length : end) - from;
}

function cellWidth(cell: string): number {
  return [...cell].length;
}

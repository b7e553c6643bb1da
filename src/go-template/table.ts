import type { TemplateFunctions } from './functions.ts';
import { parseTemplate, type RenderOptions } from './template.ts';

/** A format for rows. If it begins with `table`, it prints aligned columns with titles; otherwise only the rows. */
export type RowFormat = {
  /** Returns lines of text. Throws TemplateError. */
  render(rows: readonly unknown[], titles: Readonly<Record<string, string>>): readonly string[];
};

/** Parses a format. Replaces `\t` and `\n` by a tab and a newline, since shells do not. Throws TemplateError. */
export function parseRowFormat(format: string, functions: TemplateFunctions, options: RenderOptions = {}): RowFormat {
  const isTable = format.startsWith('table');
  const text = (isTable ? format.slice('table'.length) : format).replaceAll(/^ +| +$/g, '');
  const template = parseTemplate(text.replaceAll('\\t', '\t').replaceAll('\\n', '\n'), functions);
  const line = (row: unknown): string => template.render(row, options);
  return {
    // The titles go through the same template, so that they are in the same columns as the values.
    render: (rows, titles) => (isTable ? formatTable([titles, ...rows].map(line)) : rows.map(line)),
  };
}

const MIN_COLUMN_WIDTH = 5;
const COLUMN_GAP = 3;

/** Aligns lines whose cells end with tabs. */
export function formatTable(lines: readonly string[]): readonly string[] {
  return alignColumns(lines.join('\n')).split('\n');
}

/**
 * Aligns columns as Go's tabwriter does with the settings of Docker Machine and the docker CLI. Cells end with tabs,
 * and the text after a line's last tab is not a cell. A column is as wide as its widest cell in consecutive lines that
 * have the column.
 */
function alignColumns(text: string): string {
  const lines = text.split('\n').map((line) => line.split('\t'));
  const widths = lines.map((): number[] => []);
  for (const [row, cells] of lines.entries()) {
    for (let column = 0; column < cells.length - 1; column += 1) {
      if (widths[row]?.[column] !== undefined) continue;
      const height = columnHeight(lines, row, column);
      const width = Math.max(...lines.slice(row, row + height).map((line) => cellWidth(line[column] ?? '')));
      for (const rowWidths of widths.slice(row, row + height))
        rowWidths[column] = Math.max(MIN_COLUMN_WIDTH, width + COLUMN_GAP);
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

/** Counts the consecutive lines, beginning with `from`, that have the column. */
function columnHeight(lines: readonly (readonly string[])[], from: number, column: number): number {
  const end = lines.findIndex((cells, row) => row > from && column >= cells.length - 1);
  return (end < 0 ? lines.length : end) - from;
}

function cellWidth(cell: string): number {
  return [...cell].length;
}

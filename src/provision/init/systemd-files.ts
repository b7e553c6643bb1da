/** Reads what `systemctl cat` prints, and splits lines and variables into words, as systemd does. Pure. */
import type { FilePlace } from '../dockerd-flags.ts';

/** A setting in a unit's file or drop-in: `ExecStart=…`. */
export type Directive = {
  readonly section: string;
  readonly key: string;
  readonly value: string;
  readonly place: FilePlace;
};

/** A unit's file or drop-in. `systemctl cat` prints them in the order in which systemd applies them. */
export type UnitFile = { readonly path: string; readonly directives: readonly Directive[] };

/** A word of a setting: `text` is as it was written, `value` is what systemd makes of it. */
export type Word = { readonly text: string; readonly value: string };

/** A variable's value, and where it was set. */
export type Variable = { readonly value: string; readonly place: FilePlace };

/** Separates the files, each after a comment with its path, and parses them. */
export function parseUnitFiles(shown: string): readonly UnitFile[] {
  const files: { path: string; lines: string[] }[] = [];
  for (const line of shown.split('\n')) {
    const path = /^# (\/\S.*\.(?:service|socket|conf))$/.exec(line)?.[1];
    if (path !== undefined) files.push({ path, lines: [] });
    else files.at(-1)?.lines.push(line);
  }
  return files.map(({ path, lines }) => ({ path, directives: parseDirectives(path, lines) }));
}

function parseDirectives(path: string, lines: readonly string[]): readonly Directive[] {
  const directives: Directive[] = [];
  let section = '';
  for (const { text, line } of joinContinuedLines(lines, (one) => /^\s*[#;]/.test(one))) {
    const header = /^\s*\[(.+)\]\s*$/.exec(text)?.[1];
    const [, key = '', value = ''] = /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/s.exec(text) ?? [];
    if (header !== undefined) section = header;
    else if (key !== '') directives.push({ section, key, value, place: { path, line } });
  }
  return directives;
}

/** Joins each line that ends in a backslash with the next one, and omits comments, also between two such lines. */
function joinContinuedLines(
  lines: readonly string[],
  isComment: (line: string) => boolean,
): readonly { readonly text: string; readonly line: number }[] {
  const joined: { text: string; line: number }[] = [];
  let isOpen = false;
  for (const [index, line] of lines.entries()) {
    if (isComment(line)) continue;
    const last = joined.at(-1);
    const continues = line.endsWith('\\');
    const text = continues ? `${line.slice(0, -1)} ` : line;
    if (isOpen && last) last.text += text;
    else joined.push({ text, line: index + 1 });
    isOpen = continues;
  }
  return joined;
}

/** Returns the values of a setting that is a list: an empty value clears what came before it. */
export function listDirectives(
  files: readonly UnitFile[],
  wanted: Pick<Directive, 'section' | 'key'>,
): readonly Directive[] {
  const found = files
    .flatMap(({ directives }) => directives)
    .filter(({ section, key }) => section === wanted.section && key === wanted.key);
  const cleared = found.findLastIndex(({ value }) => value === '');
  return found.slice(cleared + 1);
}

/** Splits a line into words: quotes group a word, and a backslash escapes the next character. */
export function splitWords(line: string): readonly Word[] {
  return [...line.matchAll(/(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\.|[^\s"'\\])+/g)].map(([text]) => ({
    text,
    value: text.replaceAll(
      /"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|\\(.)/g,
      (_all, double?: string, single?: string, escaped?: string) =>
        (double ?? single ?? escaped ?? '').replaceAll(/\\(.)/g, '$1'),
    ),
  }));
}

/** Quotes a word for a command line in a unit. */
export function quoteWord(value: string): string {
  const escaped = value.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[\w@%+=:,./$-]+$/.test(escaped) ? escaped : `"${escaped.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}

/** Returns the variables of a service: those of its files, and over them those of its environment files. */
export function readVariables(
  files: readonly UnitFile[],
  environmentFiles: Readonly<Record<string, string>>,
): ReadonlyMap<string, Variable> {
  const inUnits = listDirectives(files, { section: 'Service', key: 'Environment' }).flatMap(({ value, place }) =>
    splitWords(value).map((word) => ({ pair: word.value, place })),
  );
  const inFiles = listDirectives(files, { section: 'Service', key: 'EnvironmentFile' }).flatMap(({ value }) => {
    const path = value.replace(/^-/, '');
    return parseEnvironmentFile(path, environmentFiles[path] ?? '');
  });
  return new Map(
    [...inUnits, ...inFiles].map(({ pair, place }) => {
      const equals = pair.indexOf('=');
      return [pair.slice(0, equals), { value: pair.slice(equals + 1), place }];
    }),
  );
}

function parseEnvironmentFile(path: string, text: string): readonly { pair: string; place: FilePlace }[] {
  return joinContinuedLines(text.split('\n'), (line) => /^\s*[#;]/.test(line)).flatMap(({ text: joined, line }) => {
    const [, name = '', value = ''] = /^\s*(?:export\s+)?(\w+)=\s*(.*?)\s*$/s.exec(joined) ?? [];
    if (name === '') return [];
    // Unlike in a shell, a value without quotes may contain spaces.
    const isQuoted = /^(["']).*\1$/s.test(value);
    const plain = isQuoted
      ? splitWords(value)
          .map((word) => word.value)
          .join(' ')
      : value;
    return [{ pair: `${name}=${plain}`, place: { path, line } }];
  });
}

import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, stringify, visit } from 'yaml';
import type { Document, Node, Pair } from 'yaml';
import type { FileProblem, FilePosition } from './file-problems.ts';

export type YamlPath = readonly (string | number)[];

/** A YAML text as plain values, with where each of them stands. */
export type ParsedYaml = {
  readonly value: unknown;
  readonly problems: readonly FileProblem[];
  /** Where the value at this path stands, or the nearest thing around it that is there. */
  positionOf(path: YamlPath): FilePosition;
  /** Where the key at the end of this path stands. */
  keyPositionOf(path: YamlPath): FilePosition;
};

/** Aliases are welcome; a file that unfolds into millions of values by them is not. */
const MAX_ALIASES = 1000;

export function parseYaml(text: string, file: string): ParsedYaml {
  const lines = new LineCounter();
  // A mark that some editors write first; columns are counted without it.
  const document = parseDocument(text.replace(/^\uFEFF/, ''), { lineCounter: lines, prettyErrors: false });
  const placeAt = (offset: number): FilePosition => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const of = (node: unknown): FilePosition => placeAt((node as { range?: readonly number[] | null })?.range?.[0] ?? 0);
  const mistakes = [
    ...[...document.errors, ...document.warnings].map(({ message, pos }) => ({
      at: placeAt(pos[0]),
      message: formatYamlError(message),
    })),
    ...unsupportedNodesIn(document, of),
  ];
  const positionOf = (path: YamlPath): FilePosition => of(nodesAlong(document, path).at(-1));
  const keyPositionOf = (path: YamlPath): FilePosition => {
    const around = nodesAlong(document, path.slice(0, -1));
    const pair = around.length === path.length ? pairIn(around.at(-1), path.at(-1)) : undefined;
    return of(pair?.key ?? around.at(-1));
  };
  const { value, bomb } = mistakes.length > 0 ? { value: undefined } : toPlainValue(document);
  return {
    value,
    problems: bomb === undefined ? mistakes : [{ at: placeAt(0), message: bomb }],
    positionOf,
    keyPositionOf,
  };
}

function toPlainValue(document: Document.Parsed): { readonly value: unknown; readonly bomb?: string } {
  try {
    return { value: document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown };
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    return { value: undefined, bomb: 'its aliases (*name) unfold into too much' };
  }
}

/** What YAML allows and no option can mean: keys that are no texts, aliases of nothing, merge keys. */
function unsupportedNodesIn(document: Document.Parsed, of: (node: unknown) => FilePosition): readonly FileProblem[] {
  const mistakes: FileProblem[] = [];
  visit(document, {
    Pair(_key, { key, value }) {
      if (isScalar(key) && key.value === '<<')
        mistakes.push({
          at: of(key),
          message: '<< merges nothing here: put what is shared into `templates` and name it in `extends`',
        });
      else if (!isScalar(key) || typeof key.value !== 'string')
        mistakes.push({ at: of(key ?? value), message: 'a key must be a text; put it in quotes' });
    },
    Alias(_key, alias) {
      if (alias.resolve(document) === undefined)
        mistakes.push({ at: of(alias), message: `there is no anchor &${alias.source} before this alias` });
    },
  });
  return mistakes;
}

/** The nodes on the way, as far as it goes; aliases are followed. */
function nodesAlong(document: Document.Parsed, path: YamlPath): readonly unknown[] {
  const way: unknown[] = [document.contents];
  for (const step of path) {
    const last = isAlias(way.at(-1))
      ? (way.at(-1) as { resolve(in_: Document): unknown }).resolve(document)
      : way.at(-1);
    const next = isSeq(last) ? last.items[Number(step)] : pairIn(last, step)?.value;
    if (next === undefined || next === null) break;
    way.push(next);
  }
  return way;
}

function pairIn(node: unknown, key: string | number | undefined): Pair<Node, Node> | undefined {
  if (!isMap(node)) return undefined;
  return node.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === key) as
    Pair<Node, Node> | undefined;
}

function formatYamlError(message: string): string {
  if (message.startsWith('Source contains multiple documents'))
    return 'a second document (---) begins here, and one file is one';
  if (message === 'Map keys must be unique') return 'this key stands here a second time';
  return `this is no YAML: ${message.charAt(0).toLowerCase()}${message.slice(1)}`;
}

/** Values as a text that reads like one written by hand. */
export function formatYaml(value: unknown): string {
  // Blocks lose what is only white space; nobody writes texts of several lines here by hand.
  return stringify(value, { lineWidth: 0, flowCollectionPadding: true, blockQuote: false });
}

import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, stringify, visit } from 'yaml';
import type { Document, Node, Pair } from 'yaml';
import type { Mistake, Place } from './mistakes.ts';

export type Path = readonly (string | number)[];

/** A YAML text as plain values, with where each of them stands. */
export type Parsed = {
  readonly value: unknown;
  readonly mistakes: readonly Mistake[];
  /** Where the value at this path stands, or the nearest thing around it that is there. */
  place(path: Path): Place;
  /** Where the key at the end of this path stands. */
  keyPlace(path: Path): Place;
};

/** Aliases are welcome; a file that unfolds into millions of values by them is not. */
const MOST_ALIASES = 1000;

export function parseYaml(text: string, file: string): Parsed {
  const lines = new LineCounter();
  // A mark that some editors write first; columns are counted without it.
  const document = parseDocument(text.replace(/^\uFEFF/, ''), { lineCounter: lines, prettyErrors: false });
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const of = (node: unknown): Place => placeAt((node as { range?: readonly number[] | null })?.range?.[0] ?? 0);
  const mistakes = [
    ...[...document.errors, ...document.warnings].map(({ message, pos }) => ({
      at: placeAt(pos[0]),
      says: sentence(message),
    })),
    ...strangersIn(document, of),
  ];
  const place = (path: Path): Place => of(found(document, path).at(-1));
  const keyPlace = (path: Path): Place => {
    const around = found(document, path.slice(0, -1));
    const pair = around.length === path.length ? pairIn(around.at(-1), path.at(-1)) : undefined;
    return of(pair?.key ?? around.at(-1));
  };
  const { value, bomb } = mistakes.length > 0 ? { value: undefined } : plain(document);
  return { value, mistakes: bomb === undefined ? mistakes : [{ at: placeAt(0), says: bomb }], place, keyPlace };
}

function plain(document: Document.Parsed): { readonly value: unknown; readonly bomb?: string } {
  try {
    return { value: document.toJS({ maxAliasCount: MOST_ALIASES }) as unknown };
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    return { value: undefined, bomb: 'its aliases (*name) unfold into too much' };
  }
}

/** What YAML allows and no option can mean: keys that are no texts, aliases of nothing, merge keys. */
function strangersIn(document: Document.Parsed, of: (node: unknown) => Place): readonly Mistake[] {
  const mistakes: Mistake[] = [];
  visit(document, {
    Pair(_key, { key, value }) {
      if (isScalar(key) && key.value === '<<')
        mistakes.push({
          at: of(key),
          says: '<< merges nothing here: put what is shared into `templates` and name it in `extends`',
        });
      else if (!isScalar(key) || typeof key.value !== 'string')
        mistakes.push({ at: of(key ?? value), says: 'a key must be a text; put it in quotes' });
    },
    Alias(_key, alias) {
      if (alias.resolve(document) === undefined)
        mistakes.push({ at: of(alias), says: `there is no anchor &${alias.source} before this alias` });
    },
  });
  return mistakes;
}

/** The nodes on the way, as far as it goes; aliases are followed. */
function found(document: Document.Parsed, path: Path): readonly unknown[] {
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

function sentence(message: string): string {
  if (message.startsWith('Source contains multiple documents'))
    return 'a second document (---) begins here, and one file is one';
  if (message === 'Map keys must be unique') return 'this key stands here a second time';
  return `this is no YAML: ${message.charAt(0).toLowerCase()}${message.slice(1)}`;
}

/** Values as a text that reads like one written by hand. */
export function yamlText(value: unknown): string {
  // Blocks lose what is only white space; nobody writes texts of several lines here by hand.
  return stringify(value, { lineWidth: 0, flowCollectionPadding: true, blockQuote: false });
}

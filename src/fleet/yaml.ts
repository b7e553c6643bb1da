import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, stringify, visit } from 'yaml';
import type { Document, Node, Pair } from 'yaml';
import type { FileProblem, FilePosition } from './file-problems.ts';

export type YamlPath = readonly (string | number)[];

/** A YAML document as plain values, with the position of each value. */
export type ParsedYaml = {
  readonly value: unknown;
  readonly problems: readonly FileProblem[];
  /** Returns the position of the value at this path, or of the closest parent that exists. */
  positionOf(path: YamlPath): FilePosition;
  /** Returns the position of the key at the end of this path. */
  keyPositionOf(path: YamlPath): FilePosition;
};

/** Allows aliases, but not a file that expands to millions of values by them. */
const MAX_ALIASES = 1000;

export function parseYaml(text: string, file: string): ParsedYaml {
  const lines = new LineCounter();
  // Some editors write a byte order mark first; columns are counted without it.
  const document = parseDocument(text.replace(/^\uFEFF/, ''), { lineCounter: lines, prettyErrors: false });
  const positionAt = (offset: number): FilePosition => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const positionOfNode = (node: unknown): FilePosition =>
    positionAt((node as { range?: readonly number[] | null })?.range?.[0] ?? 0);
  const problems = [
    ...[...document.errors, ...document.warnings].map(({ message, pos }) => ({
      at: positionAt(pos[0]),
      message: formatYamlError(message),
    })),
    ...unsupportedNodesIn(document, positionOfNode),
  ];
  const positionOf = (path: YamlPath): FilePosition => positionOfNode(nodesAlong(document, path).at(-1));
  const keyPositionOf = (path: YamlPath): FilePosition => {
    const parents = nodesAlong(document, path.slice(0, -1));
    const pair = parents.length === path.length ? pairIn(parents.at(-1), path.at(-1)) : undefined;
    return positionOfNode(pair?.key ?? parents.at(-1));
  };
  const { value, failure } = problems.length > 0 ? { value: undefined } : toPlainValue(document);
  return {
    value,
    problems: failure === undefined ? problems : [{ at: positionAt(0), message: failure }],
    positionOf,
    keyPositionOf,
  };
}

function toPlainValue(document: Document.Parsed): { readonly value: unknown; readonly failure?: string } {
  try {
    return { value: document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown };
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    return { value: undefined, failure: 'the aliases (*name) expand to too many values' };
  }
}

/** Finds valid YAML that no setting can use: keys that are not strings, aliases without an anchor, merge keys. */
function unsupportedNodesIn(
  document: Document.Parsed,
  positionOf: (node: unknown) => FilePosition,
): readonly FileProblem[] {
  const problems: FileProblem[] = [];
  visit(document, {
    Pair(_key, { key, value }) {
      if (isScalar(key) && key.value === '<<')
        problems.push({
          at: positionOf(key),
          message: '<< is not supported: put shared settings in `templates` and name them in `extends`',
        });
      else if (!isScalar(key) || typeof key.value !== 'string')
        problems.push({ at: positionOf(key ?? value), message: 'a key must be a string; put it in quotes' });
    },
    Alias(_key, alias) {
      if (alias.resolve(document) === undefined)
        problems.push({ at: positionOf(alias), message: `there is no anchor &${alias.source} before this alias` });
    },
  });
  return problems;
}

/** Returns the nodes along a path, as far as it exists. Follows aliases. */
function nodesAlong(document: Document.Parsed, path: YamlPath): readonly unknown[] {
  const nodes: unknown[] = [document.contents];
  for (const step of path) {
    const last = isAlias(nodes.at(-1))
      ? (nodes.at(-1) as { resolve(in_: Document): unknown }).resolve(document)
      : nodes.at(-1);
    const next = isSeq(last) ? last.items[Number(step)] : pairIn(last, step)?.value;
    if (next === undefined || next === null) break;
    nodes.push(next);
  }
  return nodes;
}

function pairIn(node: unknown, key: string | number | undefined): Pair<Node, Node> | undefined {
  if (!isMap(node)) return undefined;
  return node.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === key) as
    Pair<Node, Node> | undefined;
}

function formatYamlError(message: string): string {
  if (message.startsWith('Source contains multiple documents'))
    return 'a second document (---) starts here; a file must contain only one';
  if (message === 'Map keys must be unique') return 'duplicate key';
  return `invalid YAML: ${message.charAt(0).toLowerCase()}${message.slice(1)}`;
}

/** Formats values as YAML that reads as if written by hand. */
export function formatYaml(value: unknown): string {
  // Block scalars lose strings of white space only, and nobody writes multi-line strings here by hand.
  return stringify(value, { lineWidth: 0, flowCollectionPadding: true, blockQuote: false });
}

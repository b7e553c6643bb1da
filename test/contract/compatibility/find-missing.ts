// Compares outputs that list what exists. Each function returns what the stored output has and the present one lacks,
// so that something new passes and something removed, renamed or changed does not.

/** Returns descriptions of what `stored` contains and `present` does not. */
export type FindMissing = (stored: string, present: string) => readonly string[];

type IsKept = (stored: string, present: string) => boolean;
const isSame: IsKept = (stored, present) => stored === present;

/** A line that is not indented, with the indented lines below it. */
type Block = { readonly head: string; readonly lines: readonly string[] };

/** For lists of words: each line must still exist. */
export const findMissingLines: FindMissing = (stored, present) =>
  findMissingBlocks(stored, present, isSame, isSame);

/**
 * For help with a flag or command per line: each line must still exist. The width of its columns depends on the longest
 * flag, and one line lists the drivers.
 */
export const findMissingHelp: FindMissing = (stored, present) => {
  const normalize = (text: string): string =>
    text
      .replaceAll(/(?<=\S) {2,}/g, '  ')
      .replaceAll(/(machine with: )([^;]+)/g, (_, before: string, names: string) =>
        [before, ...names.split(', ')].join('\n      '),
      );
  return findMissingBlocks(normalize(stored), normalize(present), isSame, isSame);
};

/**
 * For declarations with names per line: each line must still exist, and may have more names, choices or error codes.
 * Whether an option takes a value, takes several or has a default must not change, nor what a command takes.
 */
export const findMissingWords: FindMissing = (stored, present) =>
  findMissingBlocks(
    stored,
    present,
    // Except for lists of names, the words of a head are a command.
    (head, other) => (LIST.test(head) || nameOf(head) === nameOf(other)) && isLineExtended(head, other),
    isLineExtended,
  );

const LIST = /^(families|topics|images) /;
const nameOf = (head: string): string => head.replace(/ <.*/, '');

function isLineExtended(stored: string, present: string): boolean {
  const [columns, others] = [stored, present].map((line) => line.split(' | '));
  if (columns?.length !== others?.length || shapeOf(stored) !== shapeOf(present)) return false;
  return (columns ?? []).every((column, at) => {
    const other = others?.[at] ?? '';
    // The third column of an option is its default.
    return at === 2 ? column === other : isSubsequence(wordsOf(column), wordsOf(other));
  });
}

const wordsOf = (text: string): readonly string[] => text.split(/[\s,|<>]+/).filter(Boolean);
const shapeOf = (line: string): string =>
  (line.replaceAll(/<[^>]*\|[^>]*>/g, '<choice>').match(/^ +|<[^>]*>|\[[^\]]*\]|…|\([^)]*\)/g) ?? []).join(' ');

function findMissingBlocks(
  stored: string,
  present: string,
  isHeadKept: IsKept,
  isLineKept: IsKept,
): readonly string[] {
  const rest = [...blocksOf(present)];
  return blocksOf(stored).flatMap(({ head, lines }) => {
    const at = rest.findIndex((block) => isHeadKept(head, block.head));
    if (at === -1) return [head];
    const [block] = rest.splice(0, at + 1).slice(-1);
    const others = [...(block?.lines ?? [])];
    return lines.flatMap((line) => {
      const found = others.findIndex((other) => isLineKept(line, other));
      if (found === -1) return [`${head}: ${line.trim()}`];
      others.splice(0, found + 1);
      return [];
    });
  });
}

function blocksOf(text: string): readonly Block[] {
  const blocks: { head: string; lines: string[] }[] = [];
  for (const line of text.split('\n').filter((each) => each.trim() !== '')) {
    const last = blocks.at(-1);
    if (line.startsWith(' ') && last) last.lines.push(line);
    else blocks.push({ head: line, lines: [] });
  }
  return blocks;
}

function isSubsequence(words: readonly string[], others: readonly string[]): boolean {
  let at = 0;
  for (const word of others) if (word === words[at]) at += 1;
  return at === words.length;
}

/**
 * For JSON documents: the members with these names, objects or arrays, may have more members than before. All other
 * values must be equal, because another keyword in a schema makes it stricter. `''` names the document itself.
 */
export const findMissingMembers =
  ({ extensible }: { readonly extensible: readonly string[] }): FindMissing =>
  (stored, present) => {
    const [document, status] = splitStatus(stored);
    const [other, otherStatus] = splitStatus(present);
    const missing = findMissingIn(JSON.parse(document), JSON.parse(other), [], extensible);
    return status === otherStatus ? missing : [...missing, status];
  };

/** Splits the exit status from the output of a call. */
function splitStatus(text: string): readonly [document: string, status: string] {
  const at = text.search(/^\(\d+\)$/m);
  return at === -1 ? [text, ''] : [text.slice(0, at), text.slice(at).trim()];
}

function findMissingIn(
  stored: unknown,
  present: unknown,
  path: readonly string[],
  extensible: readonly string[],
): readonly string[] {
  const name = path.join('.');
  if (typeof stored !== 'object' || stored === null || typeof present !== 'object' || present === null)
    return stored === present ? [] : [`${name}: ${JSON.stringify(stored)}`];
  if (Array.isArray(stored) !== Array.isArray(present)) return [name];
  // A property may be called `required` or `enum` itself.
  const isNameOfProperty = path.at(-2) === 'properties' && path.at(-3) !== 'properties';
  const isExtensible = extensible.includes(path.at(-1) ?? '') && !isNameOfProperty;
  if (Array.isArray(stored) && Array.isArray(present)) {
    const rest: unknown[] = [...present];
    const missing = stored.flatMap((item: unknown, index) => {
      const results = rest.map((other) => findMissingIn(item, other, [...path, String(index)], extensible));
      const at = results.findIndex((result) => result.length === 0);
      rest.splice(0, at + 1);
      // The most similar item shows what is missing.
      return at === -1
        ? (results.toSorted((left, right) => left.length - right.length)[0] ?? [`${name}.${index}`])
        : [];
    });
    if (missing.length > 0 || isExtensible || stored.length === present.length) return missing;
    return [`${name}: ${present.length} instead of ${stored.length} items`];
  }
  const members = new Map(Object.entries(present));
  const missing = Object.entries(stored).flatMap(([key, value]) =>
    members.has(key) ? findMissingIn(value, members.get(key), [...path, key], extensible) : [[...path, key].join('.')],
  );
  const added = [...members.keys()].filter((key) => !(key in stored));
  if (isExtensible || added.length === 0) return missing;
  return [...missing, `${name}: without ${added.join(', ')}`];
}

/** Returns the word that the user probably meant; undefined if none is similar. */
export function findNearestWord(word: string, among: readonly string[]): string | undefined {
  const plain = normalizeWord(word);
  const alike = among.find((other) => normalizeWord(other) === plain);
  if (alike !== undefined) return alike;
  const ranked = among
    .map((other) => ({ other, edits: editDistance(plain, normalizeWord(other)) }))
    .toSorted((left, right) => left.edits - right.edits);
  const [best] = ranked;
  return best !== undefined && best.edits <= Math.min(3, Math.ceil(plain.length / 3)) ? best.other : undefined;
}

/** Ignores the difference between camelCase and kebab-case. */
function normalizeWord(word: string): string {
  // Nobody misspells a word of thousands of letters, and comparing them would take long.
  return word.slice(0, 64).replaceAll(/[-_ ]/g, '').toLowerCase();
}

/** Counts the edits that turn one word into another; two swapped letters count as one. */
function editDistance(left: string, right: string): number {
  let last: readonly number[] = [];
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const same = left[i - 1] === right[j - 1] ? 0 : 1;
      const swapped = i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1];
      const swap = swapped ? (last[j - 2] ?? 0) + 1 : Infinity;
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same, swap));
    }
    last = row;
    row = next;
  }
  return row[right.length] ?? 0;
}

import fc from 'fast-check';

const AWKWARD_WORDS = [
  '',
  ' ',
  '-',
  '--',
  '--json',
  '-x=y',
  "'",
  '"',
  '\\',
  '\\\\',
  "it's",
  '$(touch /nowhere/x); "b',
  '`id`',
  '$HOME',
  '${HOME}',
  '!!',
  '*',
  '~',
  '~root',
  '{a,b}',
  '#',
  'a=b',
  '%s\\0',
  'a\tb',
  'a\nb',
  '\n',
  'a\r\nb',
  'é ü ß',
  '日本語',
  '👩‍🚀',
  '\u2028',
  '’quoted‘',
  '&|;<>()',
];

/** Generates any text that an argv can contain, often with words that shells and parsers get wrong. */
export const anyWord: fc.Arbitrary<string> = fc
  .oneof(
    fc.constantFrom(...AWKWARD_WORDS),
    fc.string({ unit: 'binary' }),
    fc.array(fc.constantFrom(...`'"\\$\`!-= \n`, 'a'), { maxLength: 12 }).map((letters) => letters.join('')),
  )
  .filter((text) => !text.includes('\0'));

export const anyWords: fc.Arbitrary<readonly string[]> = fc.array(anyWord, { maxLength: 100, size: 'max' });

/** Generates words that match a pattern: awkward words that do, and words made from the pattern. */
export function anyWordMatching(pattern: RegExp): fc.Arbitrary<string> {
  const matching = AWKWARD_WORDS.filter((text) => pattern.test(text));
  const generated = fc.stringMatching(pattern).filter((text) => !text.includes('\0'));
  return matching.length > 0 ? fc.oneof(fc.constantFrom(...matching), generated) : generated;
}

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { drivers } from '../../src/drivers/registry.ts';
import { driverAliases } from '../../src/drivers/names.ts';
import { isMachineName, sortNames } from '../../src/machine/model.ts';

const anyCharacter = fc.constantFrom(...'aAbBzZ0123459.-');
const anyName = fc.array(anyCharacter, { minLength: 1, maxLength: 12 }).map((all) => all.join(''));
const anyNames = fc.uniqueArray(anyName.filter(isMachineName), { maxLength: 12 });

test('names are sorted as people sort them', () => {
  const sorted = ['a', 'A', 'a-1', 'a.1', 'a1', 'a2', 'A2', 'a10', 'b', 'web-2', 'web-10', '2', '10'];
  expect(sortNames(sorted.toReversed())).toEqual(['2', '10', ...sorted.slice(0, -2)]);
});

test('that is what a collator makes of them, in which some are the same', () => {
  const { compare } = new Intl.Collator('en', { numeric: true });
  fc.assert(
    fc.property(anyNames, (given) => {
      const sorted = sortNames(given);
      expect(sorted.toSorted()).toEqual(given.toSorted());
      for (const [at, one] of sorted.slice(1).entries()) expect(compare(sorted[at] ?? '', one)).toBeLessThanOrEqual(0);
    }),
    { numRuns: 1000 },
  );
});

test('the order does not hang on the order in which a folder names them', () => {
  fc.assert(
    fc.property(anyNames, (given) => {
      expect(sortNames(given.toReversed())).toEqual(sortNames(given));
    }),
  );
});

test('drivers are called what is known of them without them', () => {
  expect(Object.entries(driverAliases)).toEqual(drivers.map(({ name, aliases = [] }) => [name, aliases]));
});

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

test('sortNames agrees with a collator, for which some names are equal', () => {
  const { compare } = new Intl.Collator('en', { numeric: true });
  fc.assert(
    fc.property(anyNames, (names) => {
      const sorted = sortNames(names);
      expect(sorted.toSorted()).toEqual(names.toSorted());
      for (const [at, one] of sorted.slice(1).entries()) expect(compare(sorted[at] ?? '', one)).toBeLessThanOrEqual(0);
    }),
    { numRuns: 1000 },
  );
});

test('the order does not depend on the order in which a folder lists the names', () => {
  fc.assert(
    fc.property(anyNames, (names) => {
      expect(sortNames(names.toReversed())).toEqual(sortNames(names));
    }),
  );
});

test('driver names that are known without loading drivers match the drivers', () => {
  expect(Object.entries(driverAliases)).toEqual(drivers.map(({ name, aliases = [] }) => [name, aliases]));
});

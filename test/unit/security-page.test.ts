import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(join(repository, 'docs/security.md'), 'utf8').replaceAll(/\n(?=[a-z])/g, ' ');

/** The tests that the page names: a file and the test's name. */
const namedTests = [...page.matchAll(/`(test\/[\w/.-]+)`: (.+?)(?= \||\.?$)/gm)].map(
  ([, file = '', name = '']) => [file, name] as const,
);

test('the page on security names a test for each promise', () => {
  expect(namedTests.length).toBeGreaterThan(15);
  const promises = page.match(/^\| (?!Promise|---).*\|$/gm) ?? [];
  expect(promises.filter((line) => !line.includes('`test/'))).toEqual([]);
});

test.each(namedTests)('%s has the test that the page on security names: %s', (file, name) => {
  expect(existsSync(join(repository, file)), file).toBe(true);
  const names = [...readFileSync(join(repository, file), 'utf8').matchAll(/\b(?:test|it)\S*\(\s*(['"])(.+?)\1,/gs)];
  const found = names.map(([, , text = '']) => text.replaceAll("\\'", "'"));
  // `test.for` and `test.each` name their cases before.
  const all = readFileSync(join(repository, file), 'utf8').replaceAll("\\'", "'");
  expect(found.includes(name) || all.includes(`('${name}'`) || all.includes(`("${name}"`), name).toBe(true);
});

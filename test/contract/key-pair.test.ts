import ssh2 from 'ssh2';
import { expect, test } from 'vitest';
import { generateKeyPair } from '../../src/ssh/connection.ts';

test('generateKeyPair returns readable keys, including those with a leading zero', () => {
  const pairs = Array.from({ length: 3000 }, () => generateKeyPair('slipway web'));
  expect(pairs.filter((pair) => ssh2.utils.parseKey(pair.private) instanceof Error)).toEqual([]);
  expect(pairs.filter((pair) => ssh2.utils.parseKey(pair.public) instanceof Error)).toEqual([]);
});

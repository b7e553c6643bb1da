import { expect, test } from 'vitest';
import { findOnlyIpv6Address } from '../../src/operations/host-config.ts';

const V4 = { address: '192.0.2.10', family: 4 };
const V6 = { address: '2001:db8::1', family: 6 };

test.each([
  ['a name with only IPv6 addresses', 'web.example', [V6], '2001:db8::1'],
  ['a name with addresses of both families', 'web.example', [V6, V4], undefined],
  ['a name with only IPv4 addresses', 'web.example', [V4], undefined],
  ['a name that only the jump host knows', 'web.internal', undefined, undefined],
  ['an IPv4 address', '192.0.2.10', [V6], undefined],
  ['an IPv6 address, which the engine listens on anyway', '2001:db8::1', [V6], undefined],
])('%s gives the engine the right address to listen on', async (_kind, host, found, expected) => {
  const lookupAll = async () => found ?? Promise.reject(new Error('ENOTFOUND'));
  expect(await findOnlyIpv6Address(host, lookupAll)).toBe(expected);
});

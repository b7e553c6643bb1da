import { expect, test } from 'vitest';
import { findProxy } from '../../src/computer/proxy.ts';

const PROXY = 'http://proxy.example:3128';

test.each([
  ['https://web.example', { HTTPS_PROXY: PROXY }, PROXY],
  ['tcp://192.0.2.10:2376', { https_proxy: PROXY }, PROXY],
  ['http://web.example', { HTTPS_PROXY: PROXY }, undefined],
  ['http://web.example', { HTTP_PROXY: 'proxy.example:3128' }, PROXY],
  ['https://web.example', {}, undefined],
  ['tcp://127.0.0.1:2376', { HTTPS_PROXY: PROXY }, undefined],
  ['tcp://localhost:2376', { HTTPS_PROXY: PROXY }, undefined],
  ['tcp://[::1]:2376', { HTTPS_PROXY: PROXY }, undefined],
])('the proxy of %s with %o is %s', (url, env, proxy) => {
  expect(findProxy(new URL(url), env)?.origin).toBe(proxy);
});

test.each([
  ['*', 'tcp://192.0.2.10:2376', true],
  ['192.0.2.10', 'tcp://192.0.2.10:2376', true],
  ['other, 192.0.2.10', 'tcp://192.0.2.10:2376', true],
  ['192.0.2.10:2376', 'tcp://192.0.2.10:2376', true],
  ['192.0.2.10:22', 'tcp://192.0.2.10:2376', false],
  ['192.0.2.0/24', 'tcp://192.0.2.10:2376', true],
  ['192.0.3.0/24', 'tcp://192.0.2.10:2376', false],
  ['2001:db8::/32', 'tcp://[2001:db8::1]:2376', true],
  ['[2001:db8::1]', 'tcp://[2001:db8::1]:2376', true],
  ['2.0.2.10', 'tcp://192.0.2.10:2376', false],
  ['example', 'https://web.example', true],
  ['.example', 'https://web.example', true],
  ['*.example', 'https://web.example', true],
  ['.web.example', 'https://web.example', false],
  ['eb.example', 'https://web.example', false],
  ['WEB.example', 'https://web.Example', true],
])('NO_PROXY=%s and %s: exempt is %s', (noProxy, url, isExempt) => {
  for (const name of ['NO_PROXY', 'no_proxy'])
    expect(findProxy(new URL(url), { HTTPS_PROXY: PROXY, [name]: noProxy }) === undefined).toBe(isExempt);
});

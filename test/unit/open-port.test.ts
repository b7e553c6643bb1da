import { expect, test } from 'vitest';
import { bindingFor } from '../../src/link/open-port.ts';
import { isLoopback } from '../../src/machine/forward.ts';

test('listens where it is asked to, except below 1024 on macOS, which requires all addresses', () => {
  expect(bindingFor({ address: '127.0.0.1', port: 80 }, 'linux')).toEqual({ host: '127.0.0.1', onlyLoopback: false });
  expect(bindingFor({ address: '127.0.0.1', port: 80 }, 'darwin')).toEqual({ host: '0.0.0.0', onlyLoopback: true });
  expect(bindingFor({ address: '::1', port: 80 }, 'darwin')).toEqual({ host: '::', onlyLoopback: true });
  expect(bindingFor({ address: '10.1.2.3', port: 80 }, 'darwin').onlyLoopback).toBe(false);
  expect(bindingFor({ address: '127.0.0.1', port: 1024 }, 'darwin').onlyLoopback).toBe(false);
  expect(['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1'].every(isLoopback)).toBe(true);
  expect(['10.0.0.1', '::', 'fe80::1', '::ffff:10.0.0.1', ''].some(isLoopback)).toBe(false);
});

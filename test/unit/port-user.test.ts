import { once } from 'node:events';
import { createSocket } from 'node:dgram';
import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { findPortUser, parseLsof, parseNetstat, socketsOnPort } from '../../src/computer/port-user.ts';
import { bindingFor, isLoopback } from '../../src/link/open-port.ts';

const PROC_NET_TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
`;

test('finds the sockets that wait for peers on a port, in the tables of Linux', () => {
  expect(socketsOnPort(PROC_NET_TCP, 8080)).toEqual(['4711']);
  expect(socketsOnPort(PROC_NET_TCP, 22)).toEqual(['4713']);
  expect(socketsOnPort(PROC_NET_TCP, 80)).toEqual([]);
});

test('reads the programs that lsof and netstat name', () => {
  expect(parseLsof('p812\ncpostgres\nf5\n')).toBe('postgres (pid 812)');
  expect(parseLsof('')).toBeUndefined();
  const netstat = [
    '  Proto  Lokale Adresse         Remoteadresse          Status           PID',
    '  TCP    127.0.0.1:18080        0.0.0.0:0              ABHÖREN         11',
    '  TCP    127.0.0.1:8080         127.0.0.1:50000        HERGESTELLT     12',
    '  TCP    0.0.0.0:8080           0.0.0.0:0              ABHÖREN         812',
    '  UDP    0.0.0.0:53             *:*                                    813',
  ].join('\r\n');
  expect(parseNetstat(netstat, 8080)).toBe('812');
  expect(parseNetstat(netstat, 53)).toBe('813');
  expect(parseNetstat(netstat, 80)).toBeUndefined();
});

test.runIf(process.platform === 'linux')('names this process for its own ports', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const pattern = new RegExp(`\\(pid ${process.pid}\\)$`);
  expect(await findPortUser({ protocol: 'tcp', port, platform: 'linux' })).toMatch(pattern);
  expect(await findPortUser({ protocol: 'udp', port: socket.address().port, platform: 'linux' })).toMatch(pattern);
  server.close();
  socket.close();
  await once(server, 'close');
  expect(await findPortUser({ protocol: 'tcp', port, platform: 'linux' })).toBeUndefined();
});

test('listens where it is asked to, except below 1024 on macOS, which requires all addresses', () => {
  expect(bindingFor({ address: '127.0.0.1', port: 80 }, 'linux')).toEqual({ host: '127.0.0.1', onlyLoopback: false });
  expect(bindingFor({ address: '127.0.0.1', port: 80 }, 'darwin')).toEqual({ host: '0.0.0.0', onlyLoopback: true });
  expect(bindingFor({ address: '::1', port: 80 }, 'darwin')).toEqual({ host: '::', onlyLoopback: true });
  expect(bindingFor({ address: '10.1.2.3', port: 80 }, 'darwin').onlyLoopback).toBe(false);
  expect(bindingFor({ address: '127.0.0.1', port: 1024 }, 'darwin').onlyLoopback).toBe(false);
  expect(['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1'].every(isLoopback)).toBe(true);
  expect(['10.0.0.1', '::', 'fe80::1', '::ffff:10.0.0.1', ''].some(isLoopback)).toBe(false);
});

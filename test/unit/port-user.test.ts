import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { findPortUser, machineNameIn, socketsOnPort } from '../../src/computer/port-user.ts';
import { tryPort } from '../../src/machine/try-port.ts';
import { computerWithPrograms } from '../fakes/executable-scripts.ts';

const call = { computer: computerWithPrograms('/nowhere'), signal: new AbortController().signal };

const TABLE = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
`;

test('the socket that listens on a port is found, and no connection through it', () => {
  expect(socketsOnPort(TABLE, 8080, '0A')).toEqual(['socket:[4711]']);
  expect(socketsOnPort(TABLE, 81, '0A')).toEqual([]);
});

test.each([
  [['qemu-system-x86_64', '-name', 'slipway-web', '-uuid', '0'], 'web'],
  [['qemu-system-x86_64', '-name', 'other'], undefined],
  [['node', '/usr/lib/node_modules/slipway/dist/slipway.js', 'link', 'dev'], 'dev'],
  [['node', '/srv/blog/server.js', 'link', 'dev'], undefined],
  [['postgres'], undefined],
])('the command line %j belongs to the machine %s', (argv, name) => {
  expect(machineNameIn(argv)).toBe(name);
});

test('a free port is no refusal, and a taken one names its program', async () => {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const listen = { address: '127.0.0.1', port };
  const refusal = await tryPort({ protocol: 'tcp', listen }, call);
  expect(refusal).toMatchObject({ reason: 'taken' });
  if (process.platform === 'linux')
    expect(refusal).toMatchObject({ user: expect.stringContaining(`pid ${process.pid})`) });
  expect(await tryPort({ protocol: 'udp', listen }, call)).toBeUndefined();
  await new Promise((resolve) => void server.close(resolve));
  expect(await tryPort({ protocol: 'tcp', listen }, call)).toBeUndefined();
});

test('a UDP port that is taken is not mistaken for a TCP port', async () => {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  expect(await tryPort({ protocol: 'udp', listen: { address: '127.0.0.1', port } }, call)).toMatchObject({
    reason: 'taken',
  });
  expect(await findPortUser({ protocol: 'tcp', port }, call)).toBeUndefined();
  await new Promise<void>((resolve) => void socket.close(() => resolve()));
});

test('an address that this computer does not have is refused in the words of the system', async () => {
  expect(await tryPort({ protocol: 'tcp', listen: { address: '203.0.113.1', port: 8080 } }, call)).toMatchObject({
    reason: 'refused',
    detail: expect.stringContaining('EADDRNOTAVAIL'),
  });
});

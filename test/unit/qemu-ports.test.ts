import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Computer } from '../../src/computer/computer.ts';
import { freePorts, isFree } from '../../src/drivers/qemu/ports.ts';
import { vmFolder, writeVm } from '../../src/drivers/qemu/vm.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { vmNamed } from '../fakes/vm.ts';

const at = (home: string): Computer => ({ platform: 'linux', arch: 'x64', env: {}, home, templates: '' });

/** Has this port of 127.0.0.1 for as long as the test runs. */
async function taking(port: number): Promise<AsyncDisposable> {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

test('ports begin at a place of the machine’s own, and below those of outgoing connections', async () => {
  await using home = await temporaryFolder();
  const computer = at(home.path);
  const ports = await freePorts('ports-of-one', 3, [], computer);
  expect(await freePorts('ports-of-one', 3, [], computer)).toEqual(ports);
  expect(new Set(ports).size).toBe(3);
  for (const port of ports) {
    expect(port).toBeGreaterThanOrEqual(20_000);
    expect(port).toBeLessThan(32_000);
  }
  expect(await freePorts('ports-of-another', 3, [], computer)).not.toEqual(ports);
});

test('a port that is taken, or to be avoided, is passed over', async () => {
  await using home = await temporaryFolder();
  const computer = at(home.path);
  const [first = 0, second = 0, third = 0] = await freePorts('taken', 3, [], computer);
  await using _taken = await taking(first);
  expect(await isFree(first)).toBe(false);
  expect(await isFree(second)).toBe(true);
  expect(await freePorts('taken', 1, [], computer)).toEqual([second]);
  expect(await freePorts('taken', 1, [second], computer)).toEqual([third]);
});

test('a port that was tried is free afterwards', async () => {
  await using home = await temporaryFolder();
  const [port = 0] = await freePorts('tried', 1, [], at(home.path));
  await using _taken = await taking(port);
});

test('a stopped VM keeps its ports from others, and not from itself', async () => {
  await using home = await temporaryFolder();
  const computer = at(home.path);
  const [ssh = 0, engine = 0, monitorPort = 0, free = 0] = await freePorts('kept', 4, [], computer);
  await writeVm(vmFolder(computer, 'another'), vmNamed('another', { ports: { ssh, engine }, monitorPort }));
  expect(await freePorts('kept', 1, [], computer)).toEqual([free]);
  await writeVm(vmFolder(computer, 'kept'), vmNamed('kept', { ports: { ssh: free, engine: free + 1 } }));
  expect(await freePorts('kept', 1, [], computer)).toEqual([free]);
});

test.each(['{', '', 'null', '[]', '{}', '{"version":1}', '{"version":1,"ports":null}'])(
  'a VM whose file says %j keeps its ports from nobody',
  async (text) => {
    await using home = await temporaryFolder();
    const computer = at(home.path);
    const wanted = await freePorts('one', 2, [], computer);
    await mkdir(vmFolder(computer, 'broken'), { recursive: true });
    await writeFile(join(vmFolder(computer, 'broken'), 'vm.json'), text);
    await mkdir(vmFolder(computer, 'empty'));
    expect(await freePorts('one', 2, [], computer)).toEqual(wanted);
  },
);

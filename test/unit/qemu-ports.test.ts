import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Computer } from '../../src/computer/computer.ts';
import { findFreePorts, isPortFree } from '../../src/drivers/qemu/ports.ts';
import { writeVm } from '../../src/drivers/qemu/vm-record.ts';
import { vmFolder } from '../../src/drivers/qemu/vm.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { vmWithId } from '../fakes/sample-vm.ts';

const computerAt = (home: string): Computer => ({ platform: 'linux', arch: 'x64', env: {}, home, templates: '' });

/** Listens on this port of 127.0.0.1 until the test ends. */
async function occupyPort(port: number): Promise<AsyncDisposable> {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

test('the ports of a machine follow from its id, and are below those of outgoing connections', async () => {
  await using home = await createTemporaryFolder();
  const computer = computerAt(home.path);
  const ports = await findFreePorts('ports-of-one', 3, [], computer);
  expect(await findFreePorts('ports-of-one', 3, [], computer)).toEqual(ports);
  expect(new Set(ports).size).toBe(3);
  for (const port of ports) {
    expect(port).toBeGreaterThanOrEqual(20_000);
    expect(port).toBeLessThan(32_000);
  }
  expect(await findFreePorts('ports-of-another', 3, [], computer)).not.toEqual(ports);
});

test('the search skips ports that are in use or to be avoided', async () => {
  await using home = await createTemporaryFolder();
  const computer = computerAt(home.path);
  const [first = 0, second = 0, third = 0] = await findFreePorts('taken', 3, [], computer);
  await using _taken = await occupyPort(first);
  expect(await isPortFree(first)).toBe(false);
  expect(await isPortFree(second)).toBe(true);
  expect(await findFreePorts('taken', 1, [], computer)).toEqual([second]);
  expect(await findFreePorts('taken', 1, [second], computer)).toEqual([third]);
});

test('a port that was checked is free afterwards', async () => {
  await using home = await createTemporaryFolder();
  const [port = 0] = await findFreePorts('tried', 1, [], computerAt(home.path));
  await using _taken = await occupyPort(port);
});

test('a stopped VM reserves its ports against other VMs, but not against itself', async () => {
  await using home = await createTemporaryFolder();
  const computer = computerAt(home.path);
  const [ssh = 0, engine = 0, monitorPort = 0, free = 0] = await findFreePorts('kept', 4, [], computer);
  await writeVm(vmFolder(computer, 'another'), vmWithId('another', { ports: { ssh, engine }, monitorPort }));
  expect(await findFreePorts('kept', 1, [], computer)).toEqual([free]);
  await writeVm(vmFolder(computer, 'kept'), vmWithId('kept', { ports: { ssh: free, engine: free + 1 } }));
  expect(await findFreePorts('kept', 1, [], computer)).toEqual([free]);
});

test.each(['{', '', 'null', '[]', '{}', '{"version":1}', '{"version":1,"ports":null}'])(
  'a VM whose vm.json says %j reserves no ports',
  async (text) => {
    await using home = await createTemporaryFolder();
    const computer = computerAt(home.path);
    const wanted = await findFreePorts('one', 2, [], computer);
    await mkdir(vmFolder(computer, 'broken'), { recursive: true });
    await writeFile(join(vmFolder(computer, 'broken'), 'vm.json'), text);
    await mkdir(vmFolder(computer, 'empty'));
    expect(await findFreePorts('one', 2, [], computer)).toEqual(wanted);
  },
);

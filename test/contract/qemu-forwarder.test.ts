import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import type { DriverCall, Target } from '../../src/drivers/contract.ts';
import { openForwarder, parseForwards } from '../../src/drivers/qemu/forwarder.ts';
import { openVmMonitor } from '../../src/drivers/qemu/qemu-process.ts';
import { writeVm } from '../../src/drivers/qemu/vm-record.ts';
import { vmFolder } from '../../src/drivers/qemu/vm.ts';
import type { Forward } from '../../src/machine/forward.ts';
import { computerWithPrograms } from '../fakes/executable-scripts.ts';
import { findFreePort } from '../fakes/free-port.ts';
import { startQemu, type RealQemu } from '../fakes/real-qemu.ts';
import { hasProgram } from '../fakes/run-program.ts';
import { vmWithId } from '../fakes/sample-vm.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const ID = '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77';
const target: Target<unknown> = { id: ID, name: 'web', options: {} };

test('the list of forwards is read from QEMU as it prints it', () => {
  const text = `Hub -1 (net):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   44       127.0.0.1 40022       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  13       127.0.0.1  8080       10.0.2.15    80     0     0
  UDP[HOST_FORWARD]  14               *    53       10.0.2.15    53     0     0
`;
  expect(parseForwards(text.replaceAll('\n', '\r\n'))).toEqual([
    { protocol: 'tcp', listen: { address: '127.0.0.1', port: 8080 }, target: { address: '0.0.0.0', port: 80 } },
    { protocol: 'udp', listen: { address: '0.0.0.0', port: 53 }, target: { address: '0.0.0.0', port: 53 } },
  ]);
});

type RunningVm = AsyncDisposable & {
  readonly call: DriverCall;
  readonly own: readonly number[];
  readonly folder: string;
};

/** Starts QEMU with a network and no guest, in the folder of a VM. */
async function startVm(): Promise<RunningVm> {
  const home = await createTemporaryFolder();
  const call: DriverCall = {
    computer: computerWithPrograms('/nowhere', { home: home.path }),
    log: () => {},
    note: () => {},
    signal: new AbortController().signal,
  };
  const folder = vmFolder(call.computer, ID);
  await mkdir(folder, { recursive: true });
  const [ssh, engine] = [await findFreePort(), await findFreePort()];
  await writeVm(folder, vmWithId(ID, { ports: { ssh, engine } }));
  const own = `hostfwd=tcp:127.0.0.1:${ssh}-:22,hostfwd=tcp:127.0.0.1:${engine}-:2376`;
  const qemu: RealQemu = await startQemu(folder, ID, '-netdev', `user,id=net,${own}`);
  return {
    call,
    own: [ssh, engine],
    folder,
    async [Symbol.asyncDispose]() {
      await qemu[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

const forwardOf = (port: number, more: Partial<Forward> = {}): Forward => ({
  protocol: 'tcp',
  listen: { address: '127.0.0.1', port },
  target: { address: '0.0.0.0', port: 80 },
  ...more,
});

describe.skipIf(!hasProgram('qemu-system-x86_64'))('the forwarder of a VM', () => {
  test('adds forwards of TCP and UDP, lists them, and removes them', async () => {
    await using vm = await startVm();
    const forwarder = await openForwarder(target, vm.call);
    expect(await forwarder.list()).toEqual([]);
    const port = await findFreePort();
    const wanted = [forwardOf(port), forwardOf(port, { protocol: 'udp' })];
    for (const forward of wanted) expect(await forwarder.add(forward)).toBeUndefined();
    expect(await forwarder.list()).toEqual(expect.arrayContaining(wanted));
    // Another process, or a later one, sees the same.
    const other = await openForwarder(target, vm.call);
    for (const forward of await other.list()) await other.remove(forward);
    expect(await forwarder.list()).toEqual([]);
    await forwarder.remove(forwardOf(port));
  });

  test('names the program that has a port, and keeps what it has', async () => {
    await using vm = await startVm();
    const forwarder = await openForwarder(target, vm.call);
    const server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    expect(await forwarder.add(forwardOf(port))).toEqual({
      reason: 'taken',
      user: expect.stringContaining(`(pid ${process.pid})`),
    });
    await new Promise((resolve) => void server.close(resolve));
    expect(await forwarder.add(forwardOf(port))).toBeUndefined();
  });

  test("never lists or removes the ports of the machine's SSH server and engine", async () => {
    await using vm = await startVm();
    const forwarder = await openForwarder(target, vm.call);
    for (const port of vm.own) {
      await forwarder.remove(forwardOf(port));
      expect(await forwarder.add(forwardOf(port))).toMatchObject({ reason: 'taken' });
    }
    expect(await forwarder.list()).toEqual([]);
  });

  test.each([
    ['IPv6', forwardOf(8080, { listen: { address: '::1', port: 8080 } })],
    ["the guest's loopback", forwardOf(8080, { target: { address: '127.0.0.1', port: 80 } })],
  ])('refuses %s, which SSH forwards', async (_what, forward) => {
    await using vm = await startVm();
    const forwarder = await openForwarder(target, vm.call);
    expect(await forwarder.add(forward)).toMatchObject({ reason: 'refused' });
    expect(await forwarder.list()).toEqual([]);
  });

  test('leaves the monitor to other commands between its calls', async () => {
    await using vm = await startVm();
    const forwarder = await openForwarder(target, vm.call);
    await forwarder.list();
    await using monitor = await openVmMonitor(vm.folder, vmWithId(ID));
    expect(await monitor?.execute('query-status')).toMatchObject({ status: expect.any(String) });
  });
});

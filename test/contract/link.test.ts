import { once } from 'node:events';
import { mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import { describe, expect, test, vi } from 'vitest';
import { writeVm } from '../../src/drivers/qemu/vm-record.ts';
import { openForwarder } from '../../src/drivers/qemu/forwarder.ts';
import { vmFolder } from '../../src/drivers/qemu/vm.ts';
import { dockerSocketPath } from '../../src/link/docker-socket.ts';
import { findServedSocket } from '../../src/link/served-socket.ts';
import { runLink, type LinkEnd } from '../../src/link/link-process.ts';
import { describePort, readLinkState, toPortDocument } from '../../src/link/link-state.ts';
import type { ReadyMachine } from '../../src/machine/model.ts';
import { driverCallFor, type World } from '../../src/operations/world.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { readMode } from '../fakes/file-modes.ts';
import { startFakeEngine, type FakeEngine } from '../fakes/fake-engine.ts';
import { findFreePort } from '../fakes/free-port.ts';
import { startQemu, type RealQemu } from '../fakes/real-qemu.ts';
import { hasProgram } from '../fakes/run-program.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { vmWithId } from '../fakes/sample-vm.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { worldIn } from '../fakes/test-world.ts';

const ID = '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77';
const WAIT = { timeout: 20_000, interval: 50 };

/** A VM without a guest, and an engine beside it, as the machine "web" of a store. */
type TestMachine = AsyncDisposable & {
  readonly world: World;
  readonly machine: ReadyMachine;
  readonly engine: FakeEngine;
  readonly qemu: RealQemu;
  readonly folder: string;
  /** The file that stands for Slipway's program. */
  readonly program: string;
};

async function startMachine(): Promise<TestMachine> {
  const home = await createTemporaryFolder();
  const world = worldIn(home.path, { connect: () => Promise.reject(new Error('no SSH in this test')) });
  const engine = await startFakeEngine();
  const spec = specNamed('web', { id: ID, driver: 'qemu', options: {} });
  const machine = readyMachine('web', { spec, endpoint: { url: engine.url, tls: false } });
  await world.store.write(machine);
  const vmPath = vmFolder(world.computer, ID);
  await mkdir(vmPath, { recursive: true });
  await writeVm(vmPath, vmWithId(ID));
  const qemu = await startQemu(vmPath, ID, '-netdev', 'user,id=net');
  const program = join(home.path, 'program.js');
  await writeFile(program, '');
  return {
    world,
    machine,
    engine,
    qemu,
    folder: world.store.paths('web').link,
    program,
    async [Symbol.asyncDispose]() {
      await qemu[Symbol.asyncDispose]();
      await engine[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

type RunningLink = AsyncDisposable & { readonly lines: readonly string[]; readonly ended: Promise<LinkEnd> };

/** Starts a link in this process. Its disposal asks it to end, and waits for that. */
function startLink({ world, program }: TestMachine): RunningLink {
  const stop = new AbortController();
  const lines: string[] = [];
  const ended = runLink('web', { ...world, signal: stop.signal }, { report: (line) => lines.push(line), program });
  return {
    lines,
    ended,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended.catch(() => {});
    },
  };
}

const tcp = (port: number, IP = '0.0.0.0'): object => ({ IP, PublicPort: port, Type: 'tcp' });

async function listForwards({ world, machine }: TestMachine): Promise<readonly string[]> {
  const forwarder = await openForwarder(
    { ...machine.spec, options: {} },
    driverCallFor(world, () => {}),
  );
  return (await forwarder.list()).map(({ protocol, listen }) => `${protocol} ${listen.address}:${listen.port}`);
}

async function readPorts({ folder }: TestMachine): Promise<readonly string[]> {
  return ((await readLinkState(folder))?.ports ?? []).map(toPortDocument).map(describePort);
}

describe.skipIf(!hasProgram('qemu-system-x86_64'))('the link of a machine', () => {
  test('opens and closes ports as containers start and end, and says so', async () => {
    await using machine = await startMachine();
    await using link = startLink(machine);
    const [web, dns] = [await findFreePort(), await findFreePort()];
    machine.engine.setContainers({ web: [tcp(web)], dns: [{ IP: '0.0.0.0', PublicPort: dns, Type: 'udp' }] });
    await vi.waitFor(async () => {
      expect(await readPorts(machine)).toEqual(expect.arrayContaining([`${web} → web`, `${dns}/udp → dns`]));
    }, WAIT);
    expect((await listForwards(machine)).toSorted()).toEqual(
      [`tcp 127.0.0.1:${web}`, `udp 127.0.0.1:${dns}`].toSorted(),
    );
    machine.engine.setContainers({});
    await vi.waitFor(async () => expect(await readPorts(machine)).toEqual([]), WAIT);
    expect(await listForwards(machine)).toEqual([]);
    expect(link.lines).toEqual(expect.arrayContaining([`+ ${web} → web`, `- ${web} → web`]));
  });

  test('serves the engine on a socket of this user, until it ends', async () => {
    await using machine = await startMachine();
    const machineFolder = machine.world.store.paths('web').folder;
    const path = dockerSocketPath(machineFolder, process.platform);
    const find = (): Promise<string> => findServedSocket(machine.machine, machineFolder, process.platform);
    {
      await using _link = startLink(machine);
      await vi.waitFor(async () => expect(await find()).toBe(`unix://${path}`), WAIT);
      expect(await readMode(path, '600')).toBe('600');
      machine.engine.setContainers({ web: [] });
      const [answer] = (await once(get({ socketPath: path, path: '/containers/json' }), 'response')) as [Readable];
      expect(await json(answer)).toMatchObject([{ Id: 'web' }]);
    }
    expect(await catchRejection(find())).toMatchObject({
      message: 'No link of machine "web" serves its socket',
      hint: expect.stringContaining('slipway start web'),
    });
  });

  test('names the program that has a port, and opens the port in a later round', async () => {
    await using machine = await startMachine();
    const server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    machine.engine.setContainers({ db: [tcp(port)] });
    await using _link = startLink(machine);
    await vi.waitFor(async () => {
      expect(await readPorts(machine)).toEqual([
        expect.stringMatching(`^${port}: taken by .*\\(pid ${process.pid}\\)$`),
      ]);
    }, WAIT);
    await new Promise((resolve) => void server.close(resolve));
    machine.engine.dropStreams();
    await vi.waitFor(async () => expect(await readPorts(machine)).toEqual([`${port} → db`]), WAIT);
  });

  test('a link that starts again finds what the one before it left, and removes what is no longer wanted', async () => {
    await using machine = await startMachine();
    const [kept, gone] = [await findFreePort(), await findFreePort()];
    machine.engine.setContainers({ web: [tcp(kept)], old: [tcp(gone)] });
    {
      await using _first = startLink(machine);
      await vi.waitFor(async () => expect(await readPorts(machine)).toHaveLength(2), WAIT);
    }
    expect(await listForwards(machine)).toHaveLength(2);
    machine.engine.setContainers({ web: [tcp(kept)] });
    await using _second = startLink(machine);
    await vi.waitFor(async () => expect(await listForwards(machine)).toEqual([`tcp 127.0.0.1:${kept}`]), WAIT);
  });

  test('two links of one machine never run at the same time', async () => {
    await using machine = await startMachine();
    await using first = startLink(machine);
    await vi.waitFor(async () => expect(await readLinkState(machine.folder)).toBeDefined(), WAIT);
    await using second = startLink(machine);
    await expect(second.ended).rejects.toThrow('The link of machine "web" is in use by another command');
    expect(await Promise.race([first.ended, 'it runs'])).toBe('it runs');
  });

  test('survives an engine that is gone for a moment, and keeps what it has opened', async () => {
    await using machine = await startMachine();
    const port = await findFreePort();
    machine.engine.setContainers({ web: [tcp(port)] });
    await using _link = startLink(machine);
    await vi.waitFor(async () => expect(await readPorts(machine)).toEqual([`${port} → web`]), WAIT);
    const before = machine.engine.countLists();
    machine.engine.dropStreams();
    await vi.waitFor(() => expect(machine.engine.countLists()).toBeGreaterThan(before), WAIT);
    expect(await readPorts(machine)).toEqual([`${port} → web`]);
  });

  test.each<[string, (machine: TestMachine) => Promise<unknown>, RegExp]>([
    [
      'its VM has ended',
      async ({ qemu, engine }) => {
        qemu.process.kill('SIGKILL');
        await qemu.ended;
        await engine[Symbol.asyncDispose]();
      },
      /does not run/,
    ],
    ['its folder is removed', async ({ folder }) => rm(join(folder, '..'), { recursive: true }), /was removed/],
    [
      'another machine has its name',
      ({ world, machine }) => world.store.write({ ...machine, spec: { ...machine.spec, id: 'other' } }),
      /was removed/,
    ],
    ['Slipway was upgraded', async ({ program }) => utimes(program, 1, 1), /was upgraded/],
    [
      'the user wants none',
      ({ world, machine }) => world.store.write({ ...machine, spec: { ...machine.spec, sharing: { link: false } } }),
      /has no link any more/,
    ],
  ])('ends by itself when %s', async (_when, change, reason) => {
    await using machine = await startMachine();
    await using link = startLink(machine);
    await vi.waitFor(async () => expect(await readLinkState(machine.folder)).toBeDefined(), WAIT);
    await change(machine);
    expect(await link.ended).toMatch(reason);
    // Nothing brings the folder of a removed machine back.
    if (_when === 'its folder is removed') expect(await readdir(join(machine.folder, '../..'))).toEqual([]);
  });

  test('closes the ports of a machine whose user wants no link any more', async () => {
    await using machine = await startMachine();
    machine.engine.setContainers({ web: [tcp(await findFreePort())] });
    await using link = startLink(machine);
    await vi.waitFor(async () => expect(await listForwards(machine)).toHaveLength(1), WAIT);
    await machine.world.store.write({
      ...machine.machine,
      spec: { ...machine.machine.spec, sharing: { link: false } },
    });
    await link.ended;
    expect(await listForwards(machine)).toEqual([]);
  });
});

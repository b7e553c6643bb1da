import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import type { FirstBootConfig, CreateCall, Target } from '../../src/drivers/contract.ts';
import { findFreePorts } from '../../src/drivers/qemu/ports.ts';
import { openVmMonitor } from '../../src/drivers/qemu/qemu-process.ts';
import { driver } from '../../src/drivers/qemu/driver.ts';
import { qemu as qemuManifest } from '../../src/drivers/qemu/manifest.ts';
import { readVm, writeVm } from '../../src/drivers/qemu/vm-record.ts';
import { vmFolder, type SuspendedVm, type Vm, type VmSnapshot } from '../../src/drivers/qemu/vm.ts';
import type { Accelerator } from '../../src/drivers/qemu/command-line.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { fakeIdentity } from '../fakes/fake-identity.ts';
import { emptyVmScript } from '../fakes/empty-vm.ts';
import { hasProgram } from '../fakes/run-program.ts';
import { computerWithPrograms, isProcessAlive, writeScript } from '../fakes/executable-scripts.ts';

/** The groups of the driver as one object. The QEMU driver has every optional member of the contract. */
const qemu = {
  ...(driver.machines as Required<typeof driver.machines>),
  ...(driver.power as Required<NonNullable<typeof driver.power>>),
  warmPool: driver.warmPool as NonNullable<typeof driver.warmPool>,
};
const ID = '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77';
const GIB = 1024 ** 3;

// Images have tests of their own; these tests get one that exists.
vi.mock('../../src/drivers/qemu/vm-image.ts', () => ({
  parseImageOptions: ({ image }: { readonly image: string }) => image,
  ensureImage: async ({ image: name, arch = 'amd64' }: { readonly image: string; readonly arch?: string }) => {
    if (name !== IMAGE_METADATA.name) return { ...IMAGE_METADATA, name, digest: 'sha256:2' };
    return arch === IMAGE_METADATA.arch ? IMAGE_METADATA : ARM_IMAGE_METADATA;
  },
}));
vi.mock('../../src/images/image-store.ts', () => ({
  openImageStore: (home: string) => ({
    list: async () =>
      [IMAGE_METADATA, { ...IMAGE_METADATA, digest: 'sha256:2' }, ARM_IMAGE_METADATA].map((image) => ({
        key: image,
        image,
      })),
    paths: () => ({ folder: join(home, 'images', 'one'), disk: join(home, 'images', 'one', 'disk.qcow2') }),
    lock: async () => ({ async [Symbol.asyncDispose]() {} }),
    verify: async () => {},
    isUnchanged: async () => true,
  }),
}));
// Simulates a disk that can't be read for a moment, and an accelerator that works or not.
const mockState = vi.hoisted(() => ({ unreadable: false, works: 'tcg' }));
vi.mock('../../src/images/hashing.ts', async (original) => {
  const real = await original<typeof import('../../src/images/hashing.ts')>();
  return {
    ...real,
    hashFile: async (...args: Parameters<typeof real.hashFile>) => {
      if (mockState.unreadable) throw new Error('EIO: i/o error, read');
      return await real.hashFile(...args);
    },
  };
});
vi.mock('../../src/drivers/qemu/accelerator.ts', async (original) => ({
  ...(await original<typeof import('../../src/drivers/qemu/accelerator.ts')>()),
  chooseAccelerator: async () => ({ accelerator: mockState.works, rejected: [] }),
}));
const IMAGE_METADATA = {
  version: 1,
  name: 'debian-13',
  arch: 'amd64',
  digest: 'sha256:1',
  root: '/dev/vda',
  files: { vmlinuz: {} },
};
const ARM_IMAGE_METADATA = { ...IMAGE_METADATA, arch: 'arm64', digest: 'sha256:3' };

type Options = Target<ReturnType<typeof qemuManifest.options.parse>>['options'];

/** Creates a computer in a folder, with a 3 GiB image and fake programs, and the arguments of the driver's calls. */
async function createFixture(folder: string, emulator: string, options: Partial<Options> = {}) {
  const computer = computerWithPrograms(folder);
  const image = join(computer.home, 'images', 'one');
  await mkdir(image, { recursive: true });
  const head = Buffer.alloc(32);
  head.writeBigUInt64BE(BigInt(3 * GIB), 24);
  await writeFile(join(image, 'disk.qcow2'), head);
  await writeScript(join(folder, 'bin', 'qemu-img'), 'echo "$*" > "$9"');
  await writeScript(join(folder, 'bin', 'qemu-system-x86_64'), emulator);
  const notes: string[] = [];
  const call: CreateCall = {
    computer,
    log: () => {},
    note: (text) => notes.push(text),
    signal: new AbortController().signal,
    recordRequest: async () => {},
    clearRequest: async () => {},
  };
  const target = (more: Partial<Options> = {}): Target<Options> => ({
    id: ID,
    name: 'web',
    options: qemuManifest.options.parse({ accelerator: 'tcg', ...options, ...more }),
  });
  return { computer, call, target, notes, vms: vmFolder(computer, ID) };
}

const bootConfig = (more: Partial<FirstBootConfig> = {}): FirstBootConfig => ({ ...fakeIdentity().boot, ...more });

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

/** Stops or continues a VM's CPUs, as an interrupted command or a full disk would. */
async function changeCpus(folder: string, command: 'stop' | 'cont'): Promise<void> {
  await using monitor = await openVmMonitor(folder, (await readVm(folder)) as Vm);
  await monitor?.execute(command);
}

/** Changes a suspended VM's record, as another version of Slipway or another computer would have written it. */
async function changeSnapshot(
  folder: string,
  change: (snapshot: VmSnapshot) => VmSnapshot,
  accelerator: Accelerator = 'tcg',
): Promise<void> {
  const vm = (await readVm(folder)) as SuspendedVm;
  await writeVm(folder, { ...vm, accelerator, snapshot: change(vm.snapshot) });
}

async function flipByte(file: string): Promise<void> {
  const bytes = await readFile(file);
  bytes[10] = (bytes[10] ?? 0) ^ 1;
  await writeFile(file, bytes);
}

const findPort = async (folder: string, id: string): Promise<number> =>
  (await findFreePorts(id, 1, [], computerWithPrograms(folder)))[0] ?? 0;

describe('validate', () => {
  test('refuses more memory than this computer has, and says how much that is', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target } = await createFixture(folder.path, 'exit 1');
    const available = Math.floor(totalmem() / 1024 ** 2);
    expect(await catchRejection(qemu.validate(target({ memory: available }), call))).toBeUndefined();
    const error = await catchRejection(qemu.validate(target({ memory: available + 1 }), call));
    expect(`${error?.code}: ${error?.message}`).toBe(
      `USAGE: Machine "web" would have ${available + 1} MB of memory, but this computer has ${available} MB`,
    );
    expect(error?.hint).toMatch(/^Use less memory, such as: --qemu-memory \d+$/);
  });

  test('refuses hardware acceleration for another architecture, and accepts software emulation', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target } = await createFixture(folder.path, 'exit 0');
    const refused = await catchRejection(qemu.validate(target({ arch: 'arm64', accelerator: 'kvm' }), call));
    expect([refused?.code, refused?.message, refused?.hint]).toEqual([
      'USAGE',
      "--qemu-accelerator kvm can't run a machine for arm64 on this computer, which is amd64",
      'Leave out --qemu-accelerator: the processor is then emulated in software',
    ]);
    await qemu.validate(target({ arch: 'arm64', accelerator: 'tcg' }), call);
    await qemu.validate(target({ arch: 'arm64', accelerator: 'auto' }), call);
    await qemu.validate(target({ arch: 'amd64', accelerator: 'kvm' }), call);
    const arm = { ...call, computer: { ...call.computer, arch: 'arm64' } };
    await qemu.validate(target({ accelerator: 'kvm' }), arm);
    expect((await catchRejection(qemu.validate(target({ arch: 'amd64', accelerator: 'kvm' }), arm)))?.code).toBe(
      'USAGE',
    );
  });

  test('refuses the same port for SSH and for the engine', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target } = await createFixture(folder.path, 'exit 1');
    expect(await catchRejection(qemu.validate(target({ sshPort: 2222, enginePort: 2222 }), call))).toMatchObject({
      code: 'USAGE',
      message: '--qemu-ssh-port and --qemu-engine-port are both 2222',
    });
    expect(await catchRejection(qemu.validate(target({ sshPort: 2222, enginePort: 2223 }), call))).toBeUndefined();
  });

  test('refuses a folder whose path is too long for a socket', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target } = await createFixture(folder.path, 'exit 1');
    const computer = { ...call.computer, home: join(folder.path, 'x'.repeat(60)) };
    expect(await catchRejection(qemu.validate(target(), { ...call, computer }))).toMatchObject({
      code: 'USAGE',
      hint: 'Set SLIPWAY_HOME to a shorter path',
    });
  });
});

describe('create', () => {
  test('fails with the last lines of a QEMU that exits at once, and remove cleans up', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, vms } = await createFixture(
      folder.path,
      'echo first; echo "qemu: no such machine" >&2; exit 7',
    );
    const error = await catchRejection(qemu.create(target(), bootConfig(), call));
    expect(`${error?.code}: ${error?.message}`).toBe('DRIVER_FAILED: QEMU could not start "web"');
    expect(error?.detail).toEqual(['first', 'qemu: no such machine', 'QEMU exited with status 7']);
    expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped' });
    await qemu.remove(target(), call);
    await expect(stat(vms)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('fails with the last lines of a QEMU that accepts a connection to its monitor and then exits', async () => {
    await using folder = await createTemporaryFolder();
    const server = 'require("net").createServer(() => { console.error("qemu: no room"); process.exit(7); })';
    const { call, target } = await createFixture(
      folder.path,
      `exec '${process.execPath}' -e '${server}.listen("monitor.sock")'`,
    );
    expect(await catchRejection(qemu.create(target(), bootConfig(), call))).toMatchObject({
      code: 'DRIVER_FAILED',
      detail: ['qemu: no room', 'QEMU exited with status 7'],
    });
  });

  test('writes disk, seed and record, readable by the user alone, before it starts QEMU', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, vms } = await createFixture(folder.path, 'ls > started; exit 1');
    await catchRejection(qemu.create(target({ disk: 5 }), bootConfig(), call));
    const started = (await readFile(join(vms, 'started'), 'utf8')).split('\n');
    expect(started).toEqual(expect.arrayContaining(['disk.qcow2', 'seed.tar', 'vm.json']));
    expect(await readFile(join(vms, 'disk.qcow2'), 'utf8')).toMatch(
      /^create .* -b \S+\/images\/one\/disk.qcow2 \S+ 5G$/m,
    );
    const seed = await stat(join(vms, 'seed.tar'));
    expect([seed.size % 4096, seed.mode & 0o777]).toEqual([0, 0o600]);
    expect(seed.size).toBeGreaterThan(0);
    expect((await stat(join(vms, 'vm.json'))).mode & 0o777).toBe(0o600);
    expect((await stat(vms)).mode & 0o777).toBe(0o700);
    expect(await readFile(join(vms, 'vm.json'), 'utf8')).not.toContain('PRIVATE KEY');
  });

  test('refuses a disk that is smaller than its image, with the least size', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target } = await createFixture(folder.path, 'exit 1');
    expect(await catchRejection(qemu.create(target({ disk: 2 }), bootConfig(), call))).toMatchObject({
      code: 'USAGE',
      message: '--qemu-disk must be at least 3 for the image debian-13, got 2',
      hint: 'Use a larger disk: --qemu-disk 3',
    });
    expect(await qemu.inspect(target(), call)).toEqual({ state: 'missing' });
    await qemu.remove(target(), call);
  });

  test('refuses a port that is in use, and continues with another one', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, vms } = await createFixture(folder.path, 'touch started; exit 1');
    const port = await findPort(folder.path, 'a port that is taken');
    await using _taken = await occupyPort(port);
    const error = await catchRejection(qemu.create(target({ enginePort: port }), bootConfig(), call));
    expect(`${error?.code}: ${error?.message}`).toBe(
      `PORT_TAKEN: Port ${port} of 127.0.0.1, which "web" needs (--qemu-engine-port), is in use by another program`,
    );
    expect(error?.hint).toContain('slipway create web --qemu-engine-port PORT');
    expect(await readdir(vms)).not.toContain('started');
    const other = await findPort(folder.path, 'a port that is free');
    expect((await catchRejection(qemu.create(target({ enginePort: other }), bootConfig(), call)))?.code).toBe(
      'DRIVER_FAILED',
    );
    expect((await readVm(vms))?.ports.engine).toBe(other);
  });

  test('chooses no port that the user chose for another use', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, vms } = await createFixture(folder.path, 'exit 1');
    const [first = 0, second = 0] = await findFreePorts(ID, 2, [], call.computer);
    await catchRejection(qemu.create(target({ sshPort: second }), bootConfig(), call));
    expect((await readVm(vms))?.ports).toMatchObject({ ssh: second });
    expect((await readVm(vms))?.ports.engine).not.toBe(second);
    // A port that was chosen for the engine yields to the user's.
    const { ports } = (await readVm(vms)) as Vm;
    await catchRejection(qemu.create(target({ sshPort: ports.engine }), bootConfig(), call));
    const now = (await readVm(vms))?.ports;
    expect(now?.ssh).toBe(ports.engine);
    expect(now?.engine).not.toBe(ports.engine);
    expect(first).not.toBe(0);
  });
});

describe('a machine that does not exist', () => {
  test('is missing for inspect, removed without an error, and refused by start, stop and kill with a hint', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, notes } = await createFixture(folder.path, 'exit 1');
    expect(await qemu.inspect(target(), call)).toEqual({ state: 'missing' });
    await qemu.remove(target(), call);
    await qemu.remove(target(), call);
    for (const work of [
      qemu.start(target(), call),
      qemu.stop(target(), { seconds: 1 }, call),
      qemu.kill(target(), call),
    ])
      expect(await catchRejection(work)).toMatchObject({
        code: 'MACHINE_NOT_READY',
        hint: 'Restore the folder, or remove the machine: slipway rm web',
      });
    expect(notes).toEqual([]);
  });

  test.each(['{', 'null', '{}', '{"version":2,"ports":{}}'])(
    'is refused with RECORD_BROKEN when its vm.json contains %j, and can be removed',
    async (text) => {
      await using folder = await createTemporaryFolder();
      const { call, target, vms } = await createFixture(folder.path, 'exit 1');
      await mkdir(vms, { recursive: true });
      await writeFile(join(vms, 'vm.json'), text);
      expect((await catchRejection(qemu.inspect(target(), call)))?.code).toBe('RECORD_BROKEN');
      await qemu.remove(target(), call);
      await qemu.remove(target(), call);
      expect(await qemu.inspect(target(), call)).toEqual({ state: 'missing' });
      expect(await readdir(join(call.computer.home, 'vms'))).toEqual([]);
    },
  );
});

const hasQemu = hasProgram('qemu-system-x86_64');
if (!hasQemu) {
  test.runIf(process.env.SLIPWAY_REQUIRE_E2E)(
    'qemu-system-x86_64 is installed, as SLIPWAY_REQUIRE_E2E requires',
    () => {
      expect.fail('install qemu-system-x86: SLIPWAY_REQUIRE_E2E is set, so that no test is skipped');
    },
  );
  test.skip('running VMs: qemu-system-x86_64 is not installed', () => {});
}

describe.runIf(hasQemu)('a VM', () => {
  /** Creates a fixture whose VMs have an empty machine. Its disposal removes the VM that a test leaves running. */
  async function createEmptyVm(console = 'Linux\\nslipway: ready\\n', options: Partial<Options> = {}) {
    const folder = await createTemporaryFolder();
    const all = await createFixture(folder.path, emptyVmScript(console), options);
    const pid = async (): Promise<number> => Number(await readFile(join(all.vms, 'qemu.pid'), 'utf8').catch(() => '0'));
    const starts = async (): Promise<readonly string[]> =>
      (await readFile(join(all.vms, 'arguments'), 'utf8')).trim().split('\n');
    return {
      ...all,
      pid,
      starts,
      async [Symbol.asyncDispose]() {
        await qemu.remove(all.target(), all.call);
        await folder[Symbol.asyncDispose]();
      },
    };
  }

  test('is created, applies its seed once, is killed, starts again and is removed', async () => {
    await using vm = await createEmptyVm();
    const { call, target, vms } = vm;
    await qemu.create(target(), bootConfig(), call);
    await qemu.waitUntilBooted(target(), call);
    const { ports } = (await readVm(vms)) as Vm;
    expect(await qemu.inspect(target(), call)).toEqual({
      state: 'running',
      host: {
        address: '127.0.0.1',
        ssh: { address: '127.0.0.1', port: ports.ssh, user: 'slipway' },
        enginePort: ports.engine,
      },
    });
    expect(await readdir(vms)).not.toContain('seed.tar');
    const first = await vm.pid();
    await qemu.start(target(), call);
    expect(await vm.pid(), 'start leaves a running VM alone').toBe(first);
    await qemu.kill(target(), call);
    expect(await isProcessAlive(first)).toBe(false);
    expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped' });
    await qemu.kill(target(), call);
    await qemu.stop(target(), { seconds: 1 }, call);
    await qemu.start(target(), call);
    expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running', host: { enginePort: ports.engine } });
    expect((await vm.starts()).map((line) => line.includes('slipway.seed='))).toEqual([true, false]);
    const second = await vm.pid();
    await qemu.remove(target(), call);
    expect(await isProcessAlive(second)).toBe(false);
    await qemu.remove(target(), call);
    expect(await qemu.inspect(target(), call)).toEqual({ state: 'missing' });
  });

  test('for another architecture runs in software emulation, with a note that says so once', async () => {
    await using vm = await createEmptyVm();
    const { call, notes, vms } = vm;
    const bin = join(call.computer.home, '..', 'bin');
    await rm(join(bin, 'qemu-system-x86_64'));
    await writeScript(join(bin, 'qemu-system-aarch64'), emptyVmScript('slipway: ready\\n'));
    // The option can't have this value. The machine may have come from a computer on which it could.
    const target = vm.target({ arch: 'arm64', accelerator: 'kvm' });
    await qemu.create(target, bootConfig(), call);
    await qemu.waitUntilBooted(target, call);
    expect(await readVm(vms)).toMatchObject({ arch: 'arm64', accelerator: 'tcg', imageDigest: 'sha256:3' });
    expect((await vm.starts()).at(-1)).toMatch(/-machine virt,\S+ -accel tcg,/);
    await qemu.kill(target, call);
    await qemu.start(target, call);
    expect(notes).toEqual([
      expect.stringMatching(
        /^The machine is for arm64 and this computer is amd64, so its processor is emulated in software: expect it to be \d+ to \d+ times slower$/,
      ),
    ]);
    await qemu.remove(target, call);
  });

  test('is not started twice by a second create, but started again with another identity', async () => {
    await using vm = await createEmptyVm();
    const { call, target, vms } = vm;
    await qemu.create(target(), bootConfig(), call);
    const first = await vm.pid();
    const seed = await readFile(join(vms, 'seed.tar'));
    await qemu.create(target(), bootConfig(), call);
    expect(await vm.pid()).toBe(first);
    await qemu.create(target(), bootConfig({ authorizedKey: 'ssh-ed25519 OTHER' }), call);
    expect(await isProcessAlive(first)).toBe(false);
    expect((await readFile(join(vms, 'seed.tar'))).equals(seed)).toBe(false);
    expect(await vm.starts()).toHaveLength(2);
  });

  test('keeps its seed until its guest has reported that it is ready', async () => {
    await using vm = await createEmptyVm('nothing yet\\n');
    const { call, target, vms } = vm;
    await qemu.create(target(), bootConfig(), call);
    await qemu.kill(target(), call);
    await qemu.start(target(), call);
    expect(await readdir(vms)).toContain('seed.tar');
    expect((await readVm(vms))?.seedApplied).toBe(false);
  });

  test('fails with the reason that its guest reports', async () => {
    await using vm = await createEmptyVm('Linux\\nslipway: failed: no root disk\\n');
    await qemu.create(vm.target(), bootConfig(), vm.call);
    const error = await catchRejection(qemu.waitUntilBooted(vm.target(), vm.call));
    expect(`${error?.code}: ${error?.message}`).toBe('BOOT_FAILED: Machine "web" did not start: no root disk');
    expect(error?.detail).toEqual(['Linux', 'slipway: failed: no root disk']);
  });

  test('fails with the end of its console when it exits during its start', async () => {
    await using vm = await createEmptyVm('Kernel panic\\n');
    await qemu.create(vm.target(), bootConfig(), vm.call);
    const boot = catchRejection(qemu.waitUntilBooted(vm.target(), vm.call));
    process.kill(await vm.pid(), 'SIGKILL');
    expect(await boot).toMatchObject({
      code: 'BOOT_FAILED',
      message: 'Machine "web" exited while it was starting',
      detail: ['Kernel panic'],
    });
  });

  test('keeps running when Ctrl-C ends the wait', async () => {
    await using vm = await createEmptyVm('nothing yet\\n');
    await qemu.create(vm.target(), bootConfig(), vm.call);
    const stop = new AbortController();
    const boot = catchRejection(qemu.waitUntilBooted(vm.target(), { ...vm.call, signal: stop.signal }));
    setTimeout(() => stop.abort(), 50);
    expect((await boot)?.code).toBe('CANCELED');
    expect(await isProcessAlive(await vm.pid())).toBe(true);
  });

  test('is killed with a note when it does not shut down within the timeout', async () => {
    await using vm = await createEmptyVm();
    await qemu.create(vm.target(), bootConfig(), vm.call);
    await qemu.stop(vm.target(), { seconds: 0.2 }, vm.call);
    expect(vm.notes).toEqual(['Machine "web" did not shut down within 0.2 seconds, so it was powered off']);
    expect(await qemu.inspect(vm.target(), vm.call)).toEqual({ state: 'stopped' });
  });

  test('that is paused is continued by stop, and shuts down', async () => {
    await using vm = await createEmptyVm();
    const { call, target, vms } = vm;
    await qemu.create(target(), bootConfig(), call);
    await writeFile(join(vms, 'obeys'), '');
    await changeCpus(vms, 'stop');
    expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'paused' });
    await qemu.stop(target(), { seconds: 60 }, call);
    expect(await readFile(join(vms, 'commands'), 'utf8')).toContain('\npoweroff ');
    expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped' });
    expect(vm.notes).toEqual([]);
    expect(await readdir(vms)).not.toContain('shutdown.asked');
  });

  test('on ARM, where no power button works, is shut down through an agent of an older image', async () => {
    await using vm = await createEmptyVm();
    const { call, target, vms } = vm;
    await qemu.create(target(), bootConfig(), call);
    await qemu.waitUntilBooted(target(), call);
    await writeVm(vms, { ...((await readVm(vms)) as Vm), arch: 'arm64' });
    const stopped = qemu.stop(target(), { seconds: 60 }, call);
    // The agent skips the command that it does not know. udev carries out the other two.
    const readCommands = (): Promise<string> => readFile(join(vms, 'commands'), 'utf8').catch(() => '');
    await expect
      .poll(readCommands)
      .toMatch(
        /\npoweroff \w+\nanswer \w+\n[^]*\nfile \/etc\/udev\/rules\.d\/99-slipway-shutdown\.rules 1\n.*poweroff"\nfile \/sys\/class\/mem\/null\/uevent 1\nchange /,
      );
    process.kill(await vm.pid(), 'SIGTERM');
    await stopped;
    expect(vm.notes).toEqual([]);
  });

  test('that is silent is not powered off by stop, restart, start and suspend, which wait for it', async () => {
    await using vm = await createEmptyVm();
    const { call, target, vms } = vm;
    await qemu.create(target(), bootConfig(), call);
    await qemu.waitUntilBooted(target(), call);
    await writeFile(join(vms, 'obeys'), '');
    const pid = await vm.pid();
    process.kill(pid, 'SIGSTOP');
    const cancel = new AbortController();
    const waiting = [
      qemu.stop(target(), { seconds: 0 }, { ...call, signal: cancel.signal }),
      qemu.stop(target(), { seconds: 0, restarts: true }, { ...call, signal: cancel.signal }),
      qemu.start(target(), { ...call, signal: cancel.signal }),
      qemu.suspend(target(), { ...call, signal: cancel.signal }),
    ].map(catchRejection);
    // One client after the other waits five seconds for the monitor.
    await expect.poll(() => vm.notes.length, { timeout: 30_000 }).toBe(4);
    expect(new Set(vm.notes)).toEqual(
      new Set(['Machine "web": its QEMU process does not answer; waiting up to 30 seconds']),
    );
    cancel.abort();
    expect((await Promise.all(waiting)).map((error) => error?.code)).toEqual(Array(4).fill('CANCELED'));
    expect(await isProcessAlive(pid)).toBe(true);
    process.kill(pid, 'SIGCONT');
    await qemu.stop(target(), { seconds: 60 }, call);
    expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped' });
  });

  test('that an interrupted stop asked to shut down is started again by start once it has', async () => {
    await using vm = await createEmptyVm();
    const { call, target, vms } = vm;
    await qemu.create(target(), bootConfig(), call);
    await qemu.waitUntilBooted(target(), call);
    const cancel = new AbortController();
    const stop = catchRejection(qemu.stop(target(), { seconds: 60 }, { ...call, signal: cancel.signal }));
    await expect.poll(() => readFile(join(vms, 'commands'), 'utf8').catch(() => '')).toContain('poweroff');
    cancel.abort();
    expect((await stop)?.code).toBe('CANCELED');
    const pid = await vm.pid();
    const started = qemu.start(target(), call);
    await sleep(500);
    process.kill(pid, 'SIGTERM');
    await started;
    expect(await vm.pid()).not.toBe(pid);
    expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
  });

  test('ends by itself when its folder is removed', async () => {
    await using vm = await createEmptyVm();
    await qemu.create(vm.target(), bootConfig(), vm.call);
    const pid = await vm.pid();
    await rm(vm.vms, { recursive: true });
    await expect.poll(() => isProcessAlive(pid), { timeout: 10_000 }).toBe(false);
  });

  test('gets another port, with a note, when a program took its port while it was stopped', async () => {
    await using vm = await createEmptyVm();
    const { call, target, vms } = vm;
    await qemu.create(target(), bootConfig(), call);
    await qemu.waitUntilBooted(target(), call);
    await qemu.kill(target(), call);
    const { ports } = (await readVm(vms)) as Vm;
    await using _taken = await occupyPort(ports.engine);
    await qemu.start(target(), call);
    const now = ((await readVm(vms)) as Vm).ports;
    expect(now.ssh).toBe(ports.ssh);
    expect([ports.ssh, ports.engine]).not.toContain(now.engine);
    expect(vm.notes).toEqual([
      `Port ${ports.engine} of 127.0.0.1 is in use by another program, so "web" uses port ${now.engine} now`,
    ]);
    expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running', host: { enginePort: now.engine } });
  });

  test('is started again when a program takes its port at the last moment', async () => {
    await using folder = await createTemporaryFolder();
    const failOnceScript = `
if [ ! -e lost ]; then
  touch lost
  echo "qemu: -netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:20022-:22'" >&2
  exit 1
fi`;
    const { call, target } = await createFixture(folder.path, failOnceScript + emptyVmScript(''));
    try {
      await qemu.create(target(), bootConfig(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
    } finally {
      await qemu.remove(target(), call);
    }
  });

  test('is not started when the port that the user chose is in use', async () => {
    const port = await findPort('/nowhere', 'chosen by the user');
    await using vm = await createEmptyVm(undefined, { sshPort: port });
    await qemu.create(vm.target(), bootConfig(), vm.call);
    await qemu.waitUntilBooted(vm.target(), vm.call);
    await qemu.kill(vm.target(), vm.call);
    await using _taken = await occupyPort(port);
    expect(await catchRejection(qemu.start(vm.target(), vm.call))).toMatchObject({
      code: 'PORT_TAKEN',
      hint: 'Stop that program, then run the same command again',
    });
  });

  test('is removed with its process when its vm.json is broken', async () => {
    await using vm = await createEmptyVm();
    await qemu.create(vm.target(), bootConfig(), vm.call);
    const pid = await vm.pid();
    await writeFile(join(vm.vms, 'vm.json'), '{');
    await qemu.remove(vm.target(), vm.call);
    expect(await isProcessAlive(pid)).toBe(false);
    expect(await qemu.inspect(vm.target(), vm.call)).toEqual({ state: 'missing' });
  });

  test('is not started when its disk or its image is missing', async () => {
    await using vm = await createEmptyVm();
    await qemu.create(vm.target(), bootConfig(), vm.call);
    await qemu.kill(vm.target(), vm.call);
    await rm(join(vm.vms, 'disk.qcow2'));
    expect((await catchRejection(qemu.start(vm.target(), vm.call)))?.message).toMatch(
      /^The disk of "web" is missing: /,
    );
    await writeVm(vm.vms, { ...((await readVm(vm.vms)) as Vm), imageDigest: 'sha256:9' });
    expect((await catchRejection(qemu.start(vm.target(), vm.call)))?.code).toBe('IMAGE_MISSING');
  });

  describe('suspended', () => {
    const createSuspendedVm = async (options: Partial<Options> = {}) => {
      const vm = await createEmptyVm(undefined, options);
      try {
        await qemu.create(vm.target(), bootConfig(), vm.call);
        await qemu.waitUntilBooted(vm.target(), vm.call);
        await qemu.suspend(vm.target(), vm.call);
        return vm;
      } catch (error) {
        await vm[Symbol.asyncDispose]();
        throw error;
      }
    };
    const readCommands = async (folder: string): Promise<string> => readFile(join(folder, 'commands'), 'utf8');

    test('has no process, and resumes once with its memory, which only the user may read', async () => {
      await using vm = await createSuspendedVm();
      const { call, target, vms } = vm;
      expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped', suspended: true });
      expect((await stat(join(vms, 'memory'))).mode & 0o777).toBe(0o600);
      expect(await readCommands(vms)).toContain('\nsync\n');
      await qemu.suspend(target(), call);
      await qemu.start(target(), call);
      await qemu.waitUntilBooted(target(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await vm.starts()).at(-1)).toMatch(/-S -incoming exec:\S/);
      expect(await readCommands(vms)).toMatch(/\nclock \d+\.\d{3}\nrandom [0-9a-f]{64}\nanswer /);
      expect(await readdir(vms)).not.toContain('memory');
      expect(await readVm(vms)).not.toHaveProperty('snapshot');
      expect(vm.notes).toEqual([]);
    });

    test('is stopped once killed, so that its next start is a boot', async () => {
      await using vm = await createSuspendedVm();
      const { call, target, vms } = vm;
      await qemu.kill(target(), call);
      expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped' });
      expect(await readdir(vms)).not.toContain('memory');
      await qemu.start(target(), call);
      expect((await vm.starts()).at(-1)).not.toContain('-incoming');
      expect(vm.notes).toEqual([]);
    });

    test.each<[string, (folder: string) => Promise<void>, RegExp]>([
      [
        'its memory is truncated',
        (folder) => writeFile(join(folder, 'memory'), 'short'),
        /its memory is damaged \(5 of \d+ bytes\)/,
      ],
      [
        'its disk has changed',
        (folder) => writeFile(join(folder, 'disk.qcow2'), 'x'.repeat(40)),
        /its disk has changed/,
      ],
      ['a byte of its memory has changed', (folder) => flipByte(join(folder, 'memory')), /its memory is damaged$/],
      [
        'an older version suspended it with other hardware',
        (folder) =>
          changeSnapshot(folder, ({ argv: _argv, ...snapshot }) => ({ ...snapshot, hardwareDigest: 'other' })),
        /an older version of Slipway gave it other virtual hardware$/,
      ],
      [
        'it ran on another processor',
        (folder) => changeSnapshot(folder, (snapshot) => ({ ...snapshot, processor: 'other 1.0' }), 'kvm'),
        /it ran on a computer with another processor$/,
      ],
    ])('is not started and keeps its memory when %s, until the user kills it', async (_what, damage, reason) => {
      await using vm = await createSuspendedVm();
      const { call, target, vms } = vm;
      await damage(vms);
      const before = await readFile(join(vms, 'memory'));
      for (const _try of [1, 2]) {
        const error = await catchRejection(qemu.start(target({ disk: 2 }), call));
        expect(error).toMatchObject({
          code: 'DRIVER_FAILED',
          message: expect.stringMatching(reason) as string,
          hint: 'Its memory is kept. To discard it, so that the next start boots from its disk: slipway kill web',
        });
        expect((await readFile(join(vms, 'memory'))).equals(before)).toBe(true);
        expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped', suspended: true });
      }
      await qemu.kill(target(), call);
      await qemu.start(target({ disk: 2 }), call);
      await qemu.waitUntilBooted(target(), call);
      expect((await vm.starts()).at(-1)).not.toContain('-incoming');
      expect(await readdir(vms)).not.toContain('memory');
      expect(vm.notes).toEqual([]);
    });

    test.each<[string, Partial<Options>, (folder: string) => Promise<void>, readonly string[]]>([
      [
        'its options specify other hardware',
        { memory: 3000, cpus: 4, accelerator: 'kvm' },
        async () => {},
        [
          'Machine "web" resumes as it was. It has 4 CPUs, 3000 MB of memory and the accelerator kvm from its next restart on: slipway restart web',
        ],
      ],
      [
        'QEMU was updated',
        {},
        (folder) =>
          changeSnapshot(folder, (snapshot) => ({ ...snapshot, qemu: { ...snapshot.qemu, bytes: 1, mtimeMs: 1 } })),
        [],
      ],
      [
        'this version would choose other hardware',
        {},
        (folder) => changeSnapshot(folder, (snapshot) => ({ ...snapshot, hardwareDigest: 'other' })),
        [],
      ],
      [
        'an older version suspended it',
        {},
        (folder) => changeSnapshot(folder, ({ argv: _argv, ...snapshot }) => snapshot),
        [],
      ],
    ])('resumes with its own arguments when %s', async (_what, more, change, notes) => {
      await using vm = await createSuspendedVm();
      const { call, target, vms } = vm;
      await change(vms);
      await qemu.start(target({ disk: 2, ...more }), call);
      await qemu.waitUntilBooted(target(more), call);
      const [boot = '', resumed = ''] = await vm.starts();
      // A machine type with its version means the same hardware for every QEMU.
      expect(resumed).toMatch(/ -machine pc-q35-\d+\.\d+,usb=off,vmport=off -accel tcg,/);
      expect(resumed).toContain(' -smp 2 -m 2048M ');
      const withoutStart = (line: string): string =>
        line
          .replace(/pc-q35-\d+\.\d+/, 'q35')
          .replace(',append=on', '')
          .replace(/ -S -incoming exec:.*(?= -qmp)/, '')
          .replace(/ slipway\.seed=\w+/, '');
      expect(withoutStart(resumed).split(' ').toSorted()).toEqual(withoutStart(boot).split(' ').toSorted());
      expect(vm.notes).toEqual(notes);
      // Suspended again, it still has the arguments of its first start.
      await qemu.suspend(target(), call);
      await qemu.start(target({ disk: 2 }), call);
      expect((await vm.starts()).at(-1)?.match(/ -incoming /g)).toHaveLength(1);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
    });

    test('is resumed by restart, shut down, and not powered off with its memory', async () => {
      await using vm = await createSuspendedVm();
      const { call, target, vms } = vm;
      await qemu.stop(target(), { seconds: 1 }, call);
      expect(vm.notes).toEqual([
        'Machine "web" is suspended, so it is off already, and its memory is kept. To discard its memory: slipway kill web',
      ]);
      expect(await readdir(vms)).toContain('memory');
      await qemu.stop(target(), { seconds: 1, restarts: true }, call);
      expect((await vm.starts()).at(-1)).toContain('-incoming');
      expect(await readCommands(vms)).toMatch(/\nclock [^]*\npoweroff /);
      expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped' });
    });

    type VmFixture = Awaited<ReturnType<typeof createSuspendedVm>>;
    const bin = ({ computer }: VmFixture, name: string): string => join(computer.home, '..', 'bin', name);
    const QEMU_MESSAGE = "cannot set up guest memory 'pc.ram': Cannot allocate memory";
    /** Each function makes a resume fail, and returns a function that repairs it. */
    const TEMPORARY_FAILURES: readonly [string, (vm: VmFixture) => Promise<() => unknown>, Partial<Options>, RegExp][] =
      [
        [
          'QEMU can not allocate its memory',
          async ({ vms }) => {
            await writeFile(join(vms, 'refused'), QEMU_MESSAGE);
            return () => rm(join(vms, 'refused'));
          },
          {},
          /QEMU could not start/,
        ],
        [
          "its memory can't be read",
          async () => {
            mockState.unreadable = true;
            return () => (mockState.unreadable = false);
          },
          {},
          /its memory could not be read: EIO/,
        ],
        [
          "its memory can't be decompressed",
          async (vm) => {
            await writeScript(bin(vm, 'zstd'), 'exit 1');
            return () => rm(bin(vm, 'zstd'));
          },
          {},
          /QEMU could not (read its memory|start)/,
        ],
        [
          'zstd is no longer installed',
          async (vm) => {
            const { env } = vm.computer;
            const { PATH } = env;
            Object.assign(env, { PATH: bin(vm, '.') });
            return () => Object.assign(env, { PATH });
          },
          {},
          /compressed with zstd, which is not installed/,
        ],
        [
          'access to its accelerator is denied',
          async ({ vms }) => {
            const before = (await readVm(vms)) as SuspendedVm;
            const snapshot = { ...before.snapshot, processor: `${cpus()[0]?.model} 6.1.0` };
            await writeVm(vms, { ...before, accelerator: 'kvm', snapshot });
            return () => writeVm(vms, before);
          },
          { accelerator: 'auto' },
          /it ran with kvm, which does not work now/,
        ],
      ];

    test.each(TEMPORARY_FAILURES)(
      'keeps its memory when %s, and resumes at the next try',
      async (_what, damage, more, reason) => {
        await using vm = await createSuspendedVm();
        const { call, target, vms } = vm;
        const repair = await damage(vm);
        const error = await catchRejection(qemu.start(target(more), call));
        await repair();
        expect(error).toMatchObject({
          code: 'DRIVER_FAILED',
          message: expect.stringMatching(/^Machine "web" could not be resumed: /) as string,
          hint: 'Fix that, then run the same command again. To discard its memory: slipway kill web',
        });
        expect(error?.message).toMatch(reason);
        expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped', suspended: true });
        await qemu.start(target(), call);
        await qemu.waitUntilBooted(target(), call);
        expect((await vm.starts()).at(-1)).toContain('-incoming');
        expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
        expect(await readdir(vms)).not.toContain('memory');
        expect(vm.notes).toEqual([]);
      },
    );

    test("reports QEMU's error when it can't resume, and boots once killed", async () => {
      await using vm = await createSuspendedVm();
      const { call, target, vms } = vm;
      await writeFile(join(vms, 'refused'), QEMU_MESSAGE);
      expect((await catchRejection(qemu.start(target(), call)))?.detail).toContain(QEMU_MESSAGE);
      await qemu.kill(target(), call);
      await qemu.start(target(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await vm.starts()).at(-1)).not.toContain('-incoming');
    });

    test('resumes with software emulation even when a faster accelerator works now', async () => {
      await using vm = await createSuspendedVm();
      mockState.works = 'kvm';
      await qemu.start(vm.target({ accelerator: 'auto' }), vm.call);
      mockState.works = 'tcg';
      expect((await vm.starts()).at(-1)).toContain('-incoming');
      expect((await readVm(vm.vms))?.accelerator).toBe('tcg');
    });

    test('resumes even when QEMU is silent for longer than the monitor waits', async () => {
      await using vm = await createSuspendedVm();
      const { call, target } = vm;
      await writeScript(
        bin(vm, 'zstd'),
        `sleep 2; exec ${execFileSync('which', ['zstd'], { encoding: 'utf8' }).trim()} "$@"`,
      );
      const started = catchRejection(qemu.start(target(), call));
      await expect.poll(async () => (await vm.starts()).at(-1), { timeout: 5000 }).toContain('-incoming');
      await sleep(1000);
      const pid = await vm.pid();
      process.kill(pid, 'SIGSTOP');
      await sleep(6000);
      process.kill(pid, 'SIGCONT');
      expect(await started).toBeUndefined();
      expect(await vm.pid()).toBe(pid);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect(vm.notes).toEqual([]);
    });

    /** Leaves the state of a suspend that was interrupted while QEMU writes the memory for this many seconds. */
    const interruptSuspend = async ({ vms, target, call }: VmFixture, seconds: number): Promise<void> => {
      await qemu.create(target(), bootConfig(), call);
      await qemu.waitUntilBooted(target(), call);
      await using monitor = await openVmMonitor(vms, (await readVm(vms)) as Vm);
      await monitor?.execute('stop');
      const uri = `exec:sleep ${seconds}; cat >memory.part && mv memory.part memory`;
      await monitor?.execute('migrate', { uri });
    };

    test('resumes and is not paused again when suspend was interrupted while QEMU wrote its memory', async () => {
      await using vm = await createEmptyVm();
      const { call, target, vms } = vm;
      await interruptSuspend(vm, 1);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'paused' });
      await qemu.start(target(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      await sleep(1500);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await readdir(vms)).filter((file) => file.startsWith('memory'))).toEqual([]);
      expect(await vm.starts()).toHaveLength(1);
    });

    test('resumes without its memory file when suspend was interrupted and QEMU finished it', async () => {
      await using vm = await createEmptyVm();
      const { call, target, vms } = vm;
      await interruptSuspend(vm, 0);
      await expect.poll(() => readdir(vms), { timeout: 5000 }).toContain('memory');
      await qemu.start(target(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await readdir(vms)).filter((file) => file.startsWith('memory'))).toEqual([]);
    });

    test('has no process after a second suspend when the first was interrupted before it ended the process', async () => {
      await using vm = await createSuspendedVm();
      const { call, target, vms } = vm;
      const before = (await readVm(vms)) as Vm;
      const memory = await readFile(join(vms, 'memory'));
      await qemu.start(target(), call);
      const pid = await vm.pid();
      await using monitor = await openVmMonitor(vms, before);
      await monitor?.execute('stop');
      await monitor?.[Symbol.asyncDispose]();
      await writeFile(join(vms, 'memory'), memory, { mode: 0o600 });
      await writeVm(vms, before);
      await qemu.suspend(target(), call);
      expect(await isProcessAlive(pid)).toBe(false);
      expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped', suspended: true });
    });

    test.each([
      ['fails at the end', 'cat >/dev/null; exit 1', 'the disk may be full'],
      ['leaves a file that can not be synced', 'cat >/dev/null; rm memory.part; ln -s /dev/full memory.part', 'EINVAL'],
    ])('keeps running when the program that compresses its memory %s', async (_what, body, reason) => {
      await using vm = await createEmptyVm();
      const { call, target, vms } = vm;
      await qemu.create(target(), bootConfig(), call);
      await qemu.waitUntilBooted(target(), call);
      await writeScript(bin(vm, 'zstd'), body);
      const error = await catchRejection(qemu.suspend(target(), call));
      expect(error?.message).toMatch(/^Could not write the memory of "web": /);
      expect(error?.message).toContain(reason);
      expect(error?.hint).toMatch(/^It is still running. /);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await readdir(vms)).filter((file) => file.startsWith('memory'))).toEqual([]);
      expect(await readVm(vms)).not.toHaveProperty('snapshot');
    });

    test("keeps running when its record can't be written", async () => {
      await using vm = await createEmptyVm();
      const { call, target, vms } = vm;
      await qemu.create(target(), bootConfig(), call);
      await qemu.waitUntilBooted(target(), call);
      const record = await readFile(join(vms, 'vm.json'));
      // A folder that is not empty takes the place of the record.
      await writeScript(bin(vm, 'zstd'), 'cat; rm vm.json; mkdir -p vm.json/x');
      await expect(qemu.suspend(target(), call)).rejects.toThrow();
      await rm(join(vms, 'vm.json'), { recursive: true });
      await writeFile(join(vms, 'vm.json'), record);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await readdir(vms)).filter((file) => file.startsWith('memory'))).toEqual([]);
    });

    test('is refused while options wait for a restart', async () => {
      await using vm = await createEmptyVm();
      await qemu.create(vm.target(), bootConfig(), vm.call);
      await qemu.waitUntilBooted(vm.target(), vm.call);
      expect(await catchRejection(qemu.suspend(vm.target({ memory: 3000 }), vm.call))).toMatchObject({
        code: 'USAGE',
        hint: 'To apply them first: slipway restart web',
      });
      expect(await qemu.inspect(vm.target(), vm.call)).toMatchObject({ state: 'running' });
    });

    test('resumes even when an earlier resume was killed in the middle', async () => {
      await using vm = await createSuspendedVm();
      const { call, target, vms } = vm;
      const memory = await readFile(join(vms, 'memory'));
      const before = (await readVm(vms)) as Vm;
      await qemu.start(target(), call);
      // The state after a kill before the first command to the guest: the memory is used, and commands are pending.
      await writeVm(vms, { ...((await readVm(vms)) as Vm), pendingCommands: [] });
      await qemu.start(target(), call);
      await qemu.waitUntilBooted(target(), call);
      expect(await readVm(vms)).not.toHaveProperty('pendingCommands');
      // The state after a kill before the record says that the memory is used: the memory is read again.
      await writeFile(join(vms, 'memory'), memory, { mode: 0o600 });
      await qemu.kill(target(), call);
      await writeFile(join(vms, 'memory'), memory, { mode: 0o600 });
      await writeVm(vms, before);
      await qemu.start(target(), call);
      expect((await vm.starts()).filter((line) => line.includes('-incoming'))).toHaveLength(2);
    });
  });

  describe('spare', () => {
    const createVmWithSpare = async () => {
      const vm = await createEmptyVm();
      const spare = { ...vm.target(), id: '11111111-1111-4111-8111-111111111111', name: 'spare-1' };
      await qemu.warmPool.make(spare, bootConfig(), 'the keys', vm.call);
      return vm;
    };

    test('is taken by one create, which gives it its name', async () => {
      await using vm = await createVmWithSpare();
      const { call, target, vms, computer } = vm;
      expect(await qemu.warmPool.list(computer)).toMatchObject([
        { image: 'sha256:1', cpus: 2, memory: 2048, disk: 20 },
      ]);
      expect(await qemu.warmPool.countReady(target(), call)).toBe(1);
      expect(await qemu.warmPool.take(target(), call)).toBe('the keys');
      // A create that was killed takes the same spare again.
      expect(await qemu.warmPool.take(target(), call)).toBe('the keys');
      expect(await qemu.warmPool.list(computer)).toEqual([]);
      expect(await qemu.create(target(), bootConfig(), call)).toEqual({ bootApplied: true, resumed: true });
      await qemu.waitUntilBooted(target(), call);
      expect(await readFile(join(vms, 'commands'), 'utf8')).toMatch(/\nname web\nfile \/etc\/hostname 1\nweb\n/);
      expect(await readVm(vms)).toMatchObject({ id: ID, name: 'web', seedApplied: true });
      expect(await readVm(vms)).not.toHaveProperty('spareFiles');
      expect(await readdir(vms)).not.toEqual(expect.arrayContaining([expect.stringMatching(/kept|spare|memory/)]));
      expect(await qemu.create(target(), bootConfig(), call)).toEqual({ bootApplied: true });
      expect(vm.notes).toEqual([]);
    });

    test('is taken by one of two creates, and the other one notes its cold start', async () => {
      await using vm = await createVmWithSpare();
      const { call, target } = vm;
      const other = { ...target(), id: '22222222-2222-4222-8222-222222222222', name: 'other' };
      const taken = await Promise.all([qemu.warmPool.take(target(), call), qemu.warmPool.take(other, call)]);
      expect(taken.filter(Boolean)).toEqual(['the keys']);
      expect(vm.notes).toEqual([expect.stringMatching(/^No spare is ready for "(web|other)", so it starts cold$/)]);
      await qemu.remove(other, call);
    });

    test('reports its boot as not applied when it was started with other files', async () => {
      await using vm = await createVmWithSpare();
      await qemu.warmPool.take(vm.target(), vm.call);
      const files = [{ path: '/etc/docker/daemon.json', mode: '644', content: '{}\n' }];
      expect(await qemu.create(vm.target(), bootConfig({ files }), vm.call)).toEqual({
        bootApplied: false,
        resumed: true,
      });
    });

    test('is replaced by a cold start when it is damaged, and says why', async () => {
      await using vm = await createVmWithSpare();
      const { call, target, vms } = vm;
      await qemu.warmPool.take(target(), call);
      await flipByte(join(vms, 'memory'));
      await vm.call.recordRequest('');
      expect(await qemu.create(target(), bootConfig(), call)).toEqual({ bootApplied: true });
      expect(vm.notes).toEqual([
        expect.stringMatching(/^The spare for "web" can't be used, so it starts cold: .*memory/),
      ]);
      expect(await readVm(vms)).not.toHaveProperty('spareFiles');
      expect((await vm.starts()).at(-1)).toContain('slipway.seed=');
    });

    test('is replaced by a cold start when QEMU can not allocate its memory', async () => {
      await using vm = await createVmWithSpare();
      const { call, target, vms } = vm;
      await qemu.warmPool.take(target(), call);
      await writeFile(join(vms, 'refused'), 'no room');
      expect(await qemu.create(target(), bootConfig(), call)).toEqual({ bootApplied: true });
      expect(vm.notes).toEqual([
        `The spare for "web" can't be used, so it starts cold: QEMU could not start (QEMU exited with status 1)`,
      ]);
    });

    test('is removed and not used when another QEMU wrote it', async () => {
      await using vm = await createVmWithSpare();
      const { call, target, computer } = vm;
      const folder = join(computer.home, 'spares', '11111111-1111-4111-8111-111111111111');
      const record = await readFile(join(folder, 'spare.json'), 'utf8');
      await writeFile(join(folder, 'spare.json'), record.replace(/"mtimeMs": [\d.]+/, '"mtimeMs": 1'));
      expect(await qemu.warmPool.take(target(), call)).toBeUndefined();
      expect(vm.notes[0]).toMatch(/^Removed a spare that can't be resumed: another QEMU wrote its memory \(\d/);
      expect(await readdir(join(computer.home, 'spares'))).toEqual([]);
    });

    test('is not taken by a create without warm start', async () => {
      await using vm = await createVmWithSpare();
      expect(await qemu.warmPool.take(vm.target({ warm: false }), vm.call)).toBeUndefined();
      expect(await qemu.warmPool.countReady(vm.target(), vm.call)).toBe(1);
      expect(await qemu.warmPool.isWanted(vm.target({ warm: false }), vm.call)).toBe(false);
      expect(vm.notes).toEqual([]);
    });

    test('is removed with its image, and so is a build with its process', async () => {
      await using vm = await createVmWithSpare();
      const { call, computer } = vm;
      const pool = join(computer.home, 'spares');
      expect(await qemu.warmPool.prune('sha256:2', call)).toEqual([]);
      expect(await qemu.warmPool.prune('sha256:1', call)).toHaveLength(1);
      expect(await readdir(pool)).toEqual([]);
      // A guest that never reports that it is ready.
      await writeScript(join(computer.home, '..', 'bin', 'qemu-system-x86_64'), emptyVmScript('nothing yet\\n'));
      const id = '33333333-3333-4333-8333-333333333333';
      const build = catchRejection(
        qemu.warmPool.make({ ...vm.target(), id, name: 'spare-3' }, bootConfig(), 'keys', call),
      );
      const pidFile = join(pool, `.making-${id}`, 'qemu.pid');
      await expect.poll(() => readFile(pidFile, 'utf8').catch(() => ''), { timeout: 10_000 }).toMatch(/\d/);
      const pid = Number(await readFile(pidFile, 'utf8'));
      await qemu.warmPool.prune(undefined, call);
      expect(await build).toMatchObject({ code: 'CANCELED' });
      expect(await isProcessAlive(pid)).toBe(false);
      expect(await readdir(pool)).toEqual([]);
    });

    test.each<[string, Partial<Options>, string]>([
      ['another user', { sshUser: 'alice' }, 'its options now specify the user alice'],
      ['another image', { image: 'debian-12' }, 'its options now specify the image debian-12 (2)'],
    ])('is replaced by a cold start when it was taken for a machine with %s', async (_what, more, reason) => {
      await using vm = await createVmWithSpare();
      const { call, target, vms } = vm;
      await qemu.warmPool.take(target(), call);
      expect(await qemu.create(target(more), bootConfig(), call)).toEqual({ bootApplied: true });
      expect(vm.notes).toEqual([`The spare for "web" can't be used, so it starts cold: ${reason}`]);
      expect(await readVm(vms)).toMatchObject(
        more.sshUser === undefined ? { imageDigest: 'sha256:2' } : { imageDigest: 'sha256:1', user: 'alice' },
      );
    });

    test('is neither taken nor built when VMs are on another disk', async () => {
      await using vm = await createVmWithSpare();
      const { call, target, computer } = vm;
      await using other = await createTemporaryFolder('/dev/shm');
      await rm(join(computer.home, 'vms'), { recursive: true, force: true });
      await symlink(other.path, join(computer.home, 'vms'));
      expect(await qemu.warmPool.take(target(), call)).toBeUndefined();
      expect(vm.notes).toEqual(['No spare is ready for "web", so it starts cold']);
      expect(await qemu.warmPool.findObstacle(target(), call)).toMatch(/spares and .*vms are on two disks$/);
    });

    test('is removed by the next builder, whatever its kind, once its QEMU has changed', async () => {
      await using vm = await createVmWithSpare();
      const { call, computer } = vm;
      const pool = join(computer.home, 'spares');
      const [id = ''] = await readdir(pool);
      const record = await readFile(join(pool, id, 'spare.json'), 'utf8');
      await (await qemu.warmPool.lock(call))[Symbol.asyncDispose]();
      expect(await qemu.warmPool.list(computer)).toHaveLength(1);
      await writeFile(join(pool, id, 'spare.json'), record.replace(/"mtimeMs": [\d.]+/, '"mtimeMs": 1'));
      await (await qemu.warmPool.lock(call))[Symbol.asyncDispose]();
      expect(await readdir(pool)).toEqual(['.maker']);
    });

    test.each([0, 20, 40, 80, 160])('leaves no process when it is pruned %d ms after its build began', async (ms) => {
      await using vm = await createEmptyVm();
      const { call, computer } = vm;
      await writeScript(join(computer.home, '..', 'bin', 'qemu-system-x86_64'), emptyVmScript('nothing yet\\n'));
      const pool = join(computer.home, 'spares');
      const id = randomUUID();
      const build = catchRejection(
        qemu.warmPool.make({ ...vm.target(), id, name: 'spare-4' }, bootConfig(), 'keys', call),
      );
      await expect.poll(() => readdir(pool).catch(() => []), { interval: 2 }).toContain(`.making-${id}`);
      await sleep(ms);
      await qemu.warmPool.prune(undefined, call);
      expect(execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' })).not.toContain(`-uuid ${id}`);
      expect(await build).toMatchObject({ code: 'CANCELED' });
      expect(await readdir(pool)).toEqual([]);
    });
  });
});

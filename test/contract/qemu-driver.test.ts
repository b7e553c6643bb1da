import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import type { FirstBootConfig, CreateCall, Target } from '../../src/drivers/contract.ts';
import { findFreePorts } from '../../src/drivers/qemu/free-ports.ts';
import { openVmMonitor } from '../../src/drivers/qemu/qemu-process.ts';
import { driver } from '../../src/drivers/qemu/driver.ts';
import { qemu as qemuManifest } from '../../src/drivers/qemu/manifest.ts';
import { readVm, vmFolder, writeVm, type Vm } from '../../src/drivers/qemu/vm.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { fakeIdentity } from '../fakes/fake-identity.ts';
import { hasProgram } from '../fakes/run-program.ts';
import { computerWithPrograms, isProcessAlive, writeScript } from '../fakes/executable-scripts.ts';

/** The groups of the driver as one object: it has every one that a driver may leave out. */
const qemu = {
  ...(driver.machines as Required<typeof driver.machines>),
  ...(driver.power as Required<NonNullable<typeof driver.power>>),
  warmPool: driver.warmPool as NonNullable<typeof driver.warmPool>,
};
const ID = '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77';
const GIB = 1024 ** 3;

// What an image is and where it is kept has tests of its own: here one is simply there.
vi.mock('../../src/drivers/qemu/vm-image.ts', () => ({
  parseImageOptions: ({ image }: { readonly image: string }) => image,
  ensureImage: async (name: string) =>
    name === IMAGE_METADATA.name ? IMAGE_METADATA : { ...IMAGE_METADATA, name, digest: 'sha256:2' },
}));
vi.mock('../../src/images/image-store.ts', () => ({
  openImageStore: (home: string) => ({
    list: async () =>
      [IMAGE_METADATA, { ...IMAGE_METADATA, digest: 'sha256:2' }].map((image) => ({ key: image, image })),
    paths: () => ({ folder: join(home, 'images', 'one'), disk: join(home, 'images', 'one', 'disk.qcow2') }),
    lock: async () => ({ async [Symbol.asyncDispose]() {} }),
    verify: async () => {},
    isUnchanged: async () => true,
  }),
}));
// A disk that can't be read for a moment, and a device whose rights change.
const mockState = vi.hoisted(() => ({ unreadable: false, works: 'tcg' }));
vi.mock('../../src/images/hashing.ts', async (original) => {
  const real = await original<typeof import('../../src/images/hashing.ts')>();
  return {
    ...real,
    hashFile: async (...given: Parameters<typeof real.hashFile>) => {
      if (mockState.unreadable) throw new Error('EIO: i/o error, read');
      return await real.hashFile(...given);
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

type Options = Target<ReturnType<typeof qemuManifest.options.parse>>['options'];

/** A computer in a folder, with an image of 3 GiB and these programs; and what a driver's calls get there. */
async function createBench(folder: string, emulator: string, given: Partial<Options> = {}) {
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
  };
  const target = (more: Partial<Options> = {}): Target<Options> => ({
    id: ID,
    name: 'web',
    options: qemuManifest.options.parse({ accelerator: 'tcg', ...given, ...more }),
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

async function flipByte(file: string): Promise<void> {
  const bytes = await readFile(file);
  bytes[10] = (bytes[10] ?? 0) ^ 1;
  await writeFile(file, bytes);
}

const findPort = async (folder: string, id: string): Promise<number> =>
  (await findFreePorts(id, 1, [], computerWithPrograms(folder)))[0] ?? 0;

describe('a check', () => {
  test('refuses more memory than this computer has, and names what it has', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target } = await createBench(folder.path, 'exit 1');
    const most = Math.floor(totalmem() / 1024 ** 2);
    expect(await catchRejection(qemu.validate(target({ memory: most }), call))).toBeUndefined();
    const error = await catchRejection(qemu.validate(target({ memory: most + 1 }), call));
    expect(`${error?.code}: ${error?.message}`).toBe(
      `USAGE: web would have ${most + 1} MB of memory, and this computer has ${most} MB`,
    );
    expect(error?.hint).toMatch(/^Ask for less: --qemu-memory \d+$/);
  });

  test('refuses one port for two things', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target } = await createBench(folder.path, 'exit 1');
    expect(await catchRejection(qemu.validate(target({ sshPort: 2222, enginePort: 2222 }), call))).toMatchObject({
      code: 'USAGE',
      message: '--qemu-ssh-port and --qemu-engine-port are both 2222',
    });
    expect(await catchRejection(qemu.validate(target({ sshPort: 2222, enginePort: 2223 }), call))).toBeUndefined();
  });

  test('refuses a folder that is too deep for a socket', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target } = await createBench(folder.path, 'exit 1');
    const computer = { ...call.computer, home: join(folder.path, 'x'.repeat(60)) };
    expect(await catchRejection(qemu.validate(target(), { ...call, computer }))).toMatchObject({
      code: 'USAGE',
      hint: 'Set SLIPWAY_HOME to a shorter path',
    });
  });
});

describe('a create', () => {
  test('whose QEMU ends at once fails with its last lines, and can be removed', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, vms } = await createBench(
      folder.path,
      'echo first; echo "qemu: no such machine" >&2; exit 7',
    );
    const error = await catchRejection(qemu.create(target(), bootConfig(), call));
    expect(`${error?.code}: ${error?.message}`).toBe('DRIVER_FAILED: QEMU could not start web');
    expect(error?.detail).toEqual(['first', 'qemu: no such machine', 'it ended with exit status 7']);
    expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped' });
    await qemu.remove(target(), call);
    await expect(stat(vms)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('whose QEMU takes a call on its monitor and then ends fails with its last lines too', async () => {
    await using folder = await createTemporaryFolder();
    const server = 'require("net").createServer(() => { console.error("qemu: no room"); process.exit(7); })';
    const { call, target } = await createBench(
      folder.path,
      `exec '${process.execPath}' -e '${server}.listen("monitor.sock")'`,
    );
    expect(await catchRejection(qemu.create(target(), bootConfig(), call))).toMatchObject({
      code: 'DRIVER_FAILED',
      detail: ['qemu: no room', 'it ended with exit status 7'],
    });
  });

  test('lays disk, seed and decisions for nobody else to read, before anything is started', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, vms } = await createBench(folder.path, 'ls > started; exit 1');
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

  test('of a disk that is smaller than its image is refused with the least that does', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target } = await createBench(folder.path, 'exit 1');
    expect(await catchRejection(qemu.create(target({ disk: 2 }), bootConfig(), call))).toMatchObject({
      code: 'USAGE',
      message: '--qemu-disk must be at least 3 for the image debian-13, got 2',
      hint: 'Type: --qemu-disk 3',
    });
    expect(await qemu.inspect(target(), call)).toEqual({ state: 'missing' });
    await qemu.remove(target(), call);
  });

  test('on a port that is taken is refused, and goes on with another', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, vms } = await createBench(folder.path, 'touch started; exit 1');
    const port = await findPort(folder.path, 'a port that is taken');
    await using _taken = await occupyPort(port);
    const error = await catchRejection(qemu.create(target({ enginePort: port }), bootConfig(), call));
    expect(`${error?.code}: ${error?.message}`).toBe(
      `PORT_TAKEN: Port ${port} of 127.0.0.1, which web is to have (--qemu-engine-port), is taken by another program`,
    );
    expect(error?.hint).toContain('slipway create web --qemu-engine-port …');
    expect(await readdir(vms)).not.toContain('started');
    const other = await findPort(folder.path, 'a port that is free');
    expect((await catchRejection(qemu.create(target({ enginePort: other }), bootConfig(), call)))?.code).toBe(
      'DRIVER_FAILED',
    );
    expect((await readVm(vms))?.ports.engine).toBe(other);
  });

  test('chooses no port that the user chose for something else', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, vms } = await createBench(folder.path, 'exit 1');
    const [first = 0, second = 0] = await findFreePorts(ID, 2, [], call.computer);
    await catchRejection(qemu.create(target({ sshPort: second }), bootConfig(), call));
    expect((await readVm(vms))?.ports).toMatchObject({ ssh: second });
    expect((await readVm(vms))?.ports.engine).not.toBe(second);
    // What was chosen for the engine meanwhile gives way.
    const { ports } = (await readVm(vms)) as Vm;
    await catchRejection(qemu.create(target({ sshPort: ports.engine }), bootConfig(), call));
    const now = (await readVm(vms))?.ports;
    expect(now?.ssh).toBe(ports.engine);
    expect(now?.engine).not.toBe(ports.engine);
    expect(first).not.toBe(0);
  });
});

describe('of a machine that does not exist', () => {
  test('inspect says so, remove is quiet, also twice, and start names what to type', async () => {
    await using folder = await createTemporaryFolder();
    const { call, target, notes } = await createBench(folder.path, 'exit 1');
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
        hint: 'Put the folder back, or give the machine up: slipway rm web',
      });
    expect(notes).toEqual([]);
  });

  test.each(['{', 'null', '{}', '{"version":2,"ports":{}}'])(
    'but has a vm.json that says %j, only remove works',
    async (text) => {
      await using folder = await createTemporaryFolder();
      const { call, target, vms } = await createBench(folder.path, 'exit 1');
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

/** QEMU itself, with this VM's id, monitor and forwards, but a machine of nothing; its console says what it is told. */
function emptyVmScript(console: string): string {
  // What listens in a guest, as long as this one runs: it writes down what it is told.
  const listener = `
    const { appendFileSync } = require("fs");
    const parent = process.ppid;
    setInterval(() => process.ppid === parent || process.exit(), 50);
    require("net").createServer((socket) => {
      socket.on("error", () => {}).on("data", (text) => {
        appendFileSync("told", text);
        const mark = /^answer (.+)$/m.exec(text)?.[1];
        if (mark) socket.write(mark + "\\n");
      });
    }).listen("port.sock");`;
  const program = hasQemu
    ? execFileSync('sh', ['-c', 'command -v qemu-system-x86_64'], { encoding: 'utf8' }).trim()
    : '';
  return `
echo "$@" >> arguments
case "$*" in *-incoming*) if [ -e refused ]; then cat refused; exit 1; fi ;; *) printf '${console}' > console.log ;; esac
rm -f port.sock
'${process.execPath}' -e '${listener}' >/dev/null 2>&1 &
until [ -S port.sock ]; do sleep 0.02; done
keep= incoming=
while [ $# -gt 0 ]; do
  case $1 in -uuid|-qmp|-pidfile|-netdev) keep="$keep $1 $2" ;; -incoming) incoming=$2 ;; esac
  shift
done
exec ${program} -machine none -m 64 -nodefaults -display none $keep \${incoming:+-S -incoming "$incoming"}`;
}
if (!hasQemu) {
  test.runIf(process.env.SLIPWAY_REQUIRE_E2E)('qemu-system-x86_64 is installed, as this run demands', () => {
    expect.fail('install qemu-system-x86: it was asked that nothing is left out');
  });
  test.skip('VMs that run: qemu-system-x86_64 is not installed here', () => {});
}

describe.runIf(hasQemu)('a VM', () => {
  /** Whatever a test leaves running is ended with its folder. */
  async function hollowBench(console = 'Linux\\nslipway: ready\\n', given: Partial<Options> = {}) {
    const folder = await createTemporaryFolder();
    const all = await createBench(folder.path, emptyVmScript(console), given);
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

  test('is created, gives its keys away once, is killed, starts again and is removed', async () => {
    await using vm = await hollowBench();
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
    expect(await vm.pid(), 'one that runs is left alone').toBe(first);
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

  test('that a create finds running is not started twice, and with another identity starts with that', async () => {
    await using vm = await hollowBench();
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

  test('keeps its seed until its guest has said that it is ready', async () => {
    await using vm = await hollowBench('nothing yet\\n');
    const { call, target, vms } = vm;
    await qemu.create(target(), bootConfig(), call);
    await qemu.kill(target(), call);
    await qemu.start(target(), call);
    expect(await readdir(vms)).toContain('seed.tar');
    expect((await readVm(vms))?.taken).toBe(false);
  });

  test('whose guest says that it failed has failed for that reason', async () => {
    await using vm = await hollowBench('Linux\\nslipway: failed: no root disk\\n');
    await qemu.create(vm.target(), bootConfig(), vm.call);
    const error = await catchRejection(qemu.waitUntilBooted(vm.target(), vm.call));
    expect(`${error?.code}: ${error?.message}`).toBe('BOOT_FAILED: web did not start: no root disk');
    expect(error?.detail).toEqual(['Linux', 'slipway: failed: no root disk']);
  });

  test('that ends while it starts has failed, with what stood on its console', async () => {
    await using vm = await hollowBench('Kernel panic\\n');
    await qemu.create(vm.target(), bootConfig(), vm.call);
    const word = catchRejection(qemu.waitUntilBooted(vm.target(), vm.call));
    process.kill(await vm.pid(), 'SIGKILL');
    expect(await word).toMatchObject({
      code: 'BOOT_FAILED',
      message: 'web ended while it was starting',
      detail: ['Kernel panic'],
    });
  });

  test('that is waited for no longer, by Ctrl-C, is left as it is', async () => {
    await using vm = await hollowBench('nothing yet\\n');
    await qemu.create(vm.target(), bootConfig(), vm.call);
    const stop = new AbortController();
    const word = catchRejection(qemu.waitUntilBooted(vm.target(), { ...vm.call, signal: stop.signal }));
    setTimeout(() => stop.abort(), 50);
    expect((await word)?.code).toBe('CANCELED');
    expect(await isProcessAlive(await vm.pid())).toBe(true);
  });

  test('that does not shut down in its seconds is ended, and that is told', async () => {
    await using vm = await hollowBench();
    await qemu.create(vm.target(), bootConfig(), vm.call);
    await qemu.stop(vm.target(), { seconds: 0.2 }, vm.call);
    expect(vm.notes).toEqual(['web did not shut down within 0.2 seconds, so it was ended']);
    expect(await qemu.inspect(vm.target(), vm.call)).toEqual({ state: 'stopped' });
  });

  test('whose port was taken while it was stopped has another, and that is told', async () => {
    await using vm = await hollowBench();
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
      `Port ${ports.engine} of 127.0.0.1 is taken by another program, so web has ${now.engine} now`,
    ]);
    expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running', host: { enginePort: now.engine } });
  });

  test('whose port is taken at the last moment is started once more', async () => {
    await using folder = await createTemporaryFolder();
    const loses = `
if [ ! -e lost ]; then
  touch lost
  echo "qemu: -netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:20022-:22'" >&2
  exit 1
fi`;
    const { call, target } = await createBench(folder.path, loses + emptyVmScript(''));
    try {
      await qemu.create(target(), bootConfig(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
    } finally {
      await qemu.remove(target(), call);
    }
  });

  test('whose own port, chosen by the user, was taken is not started', async () => {
    const port = await findPort('/nowhere', 'chosen by the user');
    await using vm = await hollowBench(undefined, { sshPort: port });
    await qemu.create(vm.target(), bootConfig(), vm.call);
    await qemu.waitUntilBooted(vm.target(), vm.call);
    await qemu.kill(vm.target(), vm.call);
    await using _taken = await occupyPort(port);
    expect(await catchRejection(qemu.start(vm.target(), vm.call))).toMatchObject({
      code: 'PORT_TAKEN',
      hint: 'End that program, then run the same command again',
    });
  });

  test('is removed, process and all, when its vm.json is broken', async () => {
    await using vm = await hollowBench();
    await qemu.create(vm.target(), bootConfig(), vm.call);
    const pid = await vm.pid();
    await writeFile(join(vm.vms, 'vm.json'), '{');
    await qemu.remove(vm.target(), vm.call);
    expect(await isProcessAlive(pid)).toBe(false);
    expect(await qemu.inspect(vm.target(), vm.call)).toEqual({ state: 'missing' });
  });

  test('is not started on a disk that is gone', async () => {
    await using vm = await hollowBench();
    await qemu.create(vm.target(), bootConfig(), vm.call);
    await qemu.kill(vm.target(), vm.call);
    await rm(join(vm.vms, 'disk.qcow2'));
    expect((await catchRejection(qemu.start(vm.target(), vm.call)))?.message).toMatch(/^The disk of web is gone: /);
    await writeVm(vm.vms, { ...((await readVm(vm.vms)) as Vm), image: 'sha256:3' });
    expect((await catchRejection(qemu.start(vm.target(), vm.call)))?.code).toBe('IMAGE_MISSING');
  });

  describe('that is suspended', () => {
    const suspended = async (given: Partial<Options> = {}) => {
      const vm = await hollowBench(undefined, given);
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
    const told = async (folder: string): Promise<string> => readFile(join(folder, 'told'), 'utf8');

    test('has no process, and goes on once with its memory, which nobody else may read', async () => {
      await using vm = await suspended();
      const { call, target, vms } = vm;
      expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped', suspended: true });
      expect((await stat(join(vms, 'memory'))).mode & 0o777).toBe(0o600);
      expect(await told(vms)).toContain('\nsync\n');
      await qemu.suspend(target(), call);
      await qemu.start(target(), call);
      await qemu.waitUntilBooted(target(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await vm.starts()).at(-1)).toMatch(/-S -incoming exec:\S/);
      expect(await told(vms)).toMatch(/\nclock \d+\.\d{3}\nrandom [0-9a-f]{64}\nanswer /);
      expect(await readdir(vms)).not.toContain('memory');
      expect(await readVm(vms)).not.toHaveProperty('suspended');
      expect(vm.notes).toEqual([]);
    });

    test('and killed is stopped: its next start is a boot', async () => {
      await using vm = await suspended();
      const { call, target, vms } = vm;
      await qemu.kill(target(), call);
      expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped' });
      expect(await readdir(vms)).not.toContain('memory');
      await qemu.start(target(), call);
      expect((await vm.starts()).at(-1)).not.toContain('-incoming');
      expect(vm.notes).toEqual([]);
    });

    test.each<[string, (folder: string) => Promise<void>, Partial<Options>, RegExp]>([
      [
        'whose memory was cut off',
        (folder) => writeFile(join(folder, 'memory'), 'short'),
        {},
        /its memory is damaged \(5 of \d+ bytes\)/,
      ],
      [
        'whose disk has changed',
        (folder) => writeFile(join(folder, 'disk.qcow2'), 'x'.repeat(40)),
        {},
        /its disk has changed/,
      ],
      ['whose memory has another byte', (folder) => flipByte(join(folder, 'memory')), {}, /its memory is damaged$/],
      ['that is to have more memory', async () => {}, { memory: 3000 }, /it is to have 3000 MB of memory now/],
      ['that is to run otherwise', async () => {}, { accelerator: 'kvm' }, /it is to run with kvm now/],
    ])('%s starts anew, and says why', async (_what, spoil, more, why) => {
      await using vm = await suspended();
      const { call, target, vms } = vm;
      await spoil(vms);
      await qemu.start(target({ disk: 2, ...more }), call);
      await qemu.waitUntilBooted(target(), call);
      expect(vm.notes).toEqual([expect.stringMatching(/^web was suspended, and starts anew: /)]);
      expect(vm.notes[0]).toMatch(why);
      expect((await vm.starts()).at(-1)).not.toContain('-incoming');
      expect(await readdir(vms)).not.toContain('memory');
    });

    type Bench = Awaited<ReturnType<typeof suspended>>;
    const bin = ({ computer }: Bench, name: string): string => join(computer.home, '..', 'bin', name);
    const lacks = "cannot set up guest memory 'pc.ram': Cannot allocate memory";
    /** What can't be for a moment; its way back. */
    const passing: readonly [string, (vm: Bench) => Promise<() => unknown>, Partial<Options>, RegExp][] = [
      [
        'QEMU has no room for it',
        async ({ vms }) => {
          await writeFile(join(vms, 'refused'), lacks);
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
        "its memory can't be unpacked",
        async (vm) => {
          await writeScript(bin(vm, 'zstd'), 'exit 1');
          return () => rm(bin(vm, 'zstd'));
        },
        {},
        /QEMU could not (read its memory|start)/,
      ],
      [
        'what packed its memory is gone',
        async (vm) => {
          const { env } = vm.computer;
          const { PATH } = env;
          Object.assign(env, { PATH: bin(vm, '.') });
          return () => Object.assign(env, { PATH });
        },
        {},
        /packed with zstd, which this computer lacks now/,
      ],
      [
        'the device that it ran with is closed',
        async ({ vms }) => {
          const before = (await readVm(vms)) as Vm;
          await writeVm(vms, { ...before, accelerator: 'kvm' });
          return () => writeVm(vms, before);
        },
        { accelerator: 'auto' },
        /it ran with kvm, which does not work now/,
      ],
    ];

    test.each(passing)('keeps its memory where %s, and goes on at the next try', async (_what, spoil, more, why) => {
      await using vm = await suspended();
      const { call, target, vms } = vm;
      const mend = await spoil(vm);
      const error = await catchRejection(qemu.start(target(more), call));
      await mend();
      expect(error).toMatchObject({
        code: 'DRIVER_FAILED',
        message: expect.stringMatching(/^web could not go on where it was: /) as string,
        hint: 'Mend that and run the same command again; to start it anew, give its memory up first: slipway kill web',
      });
      expect(error?.message).toMatch(why);
      expect(await qemu.inspect(target(), call)).toEqual({ state: 'stopped', suspended: true });
      await qemu.start(target(), call);
      await qemu.waitUntilBooted(target(), call);
      expect((await vm.starts()).at(-1)).toContain('-incoming');
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect(await readdir(vms)).not.toContain('memory');
      expect(vm.notes).toEqual([]);
    });

    test("says in QEMU's words why it does not go on, and once killed starts anew", async () => {
      await using vm = await suspended();
      const { call, target, vms } = vm;
      await writeFile(join(vms, 'refused'), lacks);
      expect((await catchRejection(qemu.start(target(), call)))?.detail).toContain(lacks);
      await qemu.kill(target(), call);
      await qemu.start(target(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await vm.starts()).at(-1)).not.toContain('-incoming');
    });

    test('goes on by software emulation also where something faster has come since', async () => {
      await using vm = await suspended();
      mockState.works = 'kvm';
      await qemu.start(vm.target({ accelerator: 'auto' }), vm.call);
      mockState.works = 'tcg';
      expect((await vm.starts()).at(-1)).toContain('-incoming');
      expect((await readVm(vm.vms))?.accelerator).toBe('tcg');
    });

    test('goes on also with a QEMU that is silent for longer than a monitor waits', async () => {
      await using vm = await suspended();
      const { call, target } = vm;
      await writeScript(
        bin(vm, 'zstd'),
        `sleep 2; exec ${execFileSync('which', ['zstd'], { encoding: 'utf8' }).trim()} "$@"`,
      );
      const going = catchRejection(qemu.start(target(), call));
      await expect.poll(async () => (await vm.starts()).at(-1), { timeout: 5000 }).toContain('-incoming');
      await sleep(1000);
      const pid = await vm.pid();
      process.kill(pid, 'SIGSTOP');
      await sleep(6000);
      process.kill(pid, 'SIGCONT');
      expect(await going).toBeUndefined();
      expect(await vm.pid()).toBe(pid);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect(vm.notes).toEqual([]);
    });

    /** What stays of one that is cut off while QEMU writes, which takes so many seconds. */
    const cutOff = async ({ vms, target, call }: Bench, seconds: number): Promise<void> => {
      await qemu.create(target(), bootConfig(), call);
      await qemu.waitUntilBooted(target(), call);
      await using monitor = await openVmMonitor(vms, (await readVm(vms)) as Vm);
      await monitor?.execute('stop');
      const uri = `exec:sleep ${seconds}; cat >memory.part && mv memory.part memory`;
      await monitor?.execute('migrate', { uri });
    };

    test('but was cut off while its memory was written, goes on where it was, and is not held up once more', async () => {
      await using vm = await hollowBench();
      const { call, target, vms } = vm;
      await cutOff(vm, 1);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'paused' });
      await qemu.start(target(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      await sleep(1500);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await readdir(vms)).filter((file) => file.startsWith('memory'))).toEqual([]);
      expect(await vm.starts()).toHaveLength(1);
    });

    test('but was cut off, and whose memory was written all the same, goes on without it', async () => {
      await using vm = await hollowBench();
      const { call, target, vms } = vm;
      await cutOff(vm, 0);
      await expect.poll(() => readdir(vms), { timeout: 5000 }).toContain('memory');
      await qemu.start(target(), call);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await readdir(vms)).filter((file) => file.startsWith('memory'))).toEqual([]);
    });

    test('but was cut off before its process ended: that ends with the next try', async () => {
      await using vm = await suspended();
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
      ['has no room at its end', 'cat >/dev/null; exit 1', 'is there room for it?'],
      ['leaves what no disk holds', 'cat >/dev/null; rm memory.part; ln -s /dev/full memory.part', 'EINVAL'],
    ])('not, where what packs its memory %s: it goes on as it was', async (_what, body, why) => {
      await using vm = await hollowBench();
      const { call, target, vms } = vm;
      await qemu.create(target(), bootConfig(), call);
      await qemu.waitUntilBooted(target(), call);
      await writeScript(bin(vm, 'zstd'), body);
      const error = await catchRejection(qemu.suspend(target(), call));
      expect(error?.message).toMatch(/^The memory of web could not be written: /);
      expect(error?.message).toContain(why);
      expect(error?.hint).toMatch(/^It goes on as it was; /);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await readdir(vms)).filter((file) => file.startsWith('memory'))).toEqual([]);
      expect(await readVm(vms)).not.toHaveProperty('suspended');
    });

    test("not, where that can't be written down: it goes on as it was", async () => {
      await using vm = await hollowBench();
      const { call, target, vms } = vm;
      await qemu.create(target(), bootConfig(), call);
      await qemu.waitUntilBooted(target(), call);
      const record = await readFile(join(vms, 'vm.json'));
      // Its place is taken by a folder that is not empty.
      await writeScript(bin(vm, 'zstd'), 'cat; rm vm.json; mkdir -p vm.json/x');
      await expect(qemu.suspend(target(), call)).rejects.toThrow();
      await rm(join(vms, 'vm.json'), { recursive: true });
      await writeFile(join(vms, 'vm.json'), record);
      expect(await qemu.inspect(target(), call)).toMatchObject({ state: 'running' });
      expect((await readdir(vms)).filter((file) => file.startsWith('memory'))).toEqual([]);
    });

    test("can't be while options wait for its start", async () => {
      await using vm = await hollowBench();
      await qemu.create(vm.target(), bootConfig(), vm.call);
      await qemu.waitUntilBooted(vm.target(), vm.call);
      expect(await catchRejection(qemu.suspend(vm.target({ memory: 3000 }), vm.call))).toMatchObject({
        code: 'USAGE',
        hint: 'Let it take them first: slipway restart web',
      });
      expect(await qemu.inspect(vm.target(), vm.call)).toMatchObject({ state: 'running' });
    });

    test('killed in the middle of going on, goes on all the same', async () => {
      await using vm = await suspended();
      const { call, target, vms } = vm;
      const memory = await readFile(join(vms, 'memory'));
      const before = (await readVm(vms)) as Vm;
      await qemu.start(target(), call);
      // As it was before the first word to it: its memory is used, and it waits.
      await writeVm(vms, { ...((await readVm(vms)) as Vm), untold: [] });
      await qemu.start(target(), call);
      await qemu.waitUntilBooted(target(), call);
      expect(await readVm(vms)).not.toHaveProperty('untold');
      // As it was before its memory was given up: that is read again.
      await writeFile(join(vms, 'memory'), memory, { mode: 0o600 });
      await qemu.kill(target(), call);
      await writeFile(join(vms, 'memory'), memory, { mode: 0o600 });
      await writeVm(vms, before);
      await qemu.start(target(), call);
      expect((await vm.starts()).filter((line) => line.includes('-incoming'))).toHaveLength(2);
    });
  });

  describe('that is a spare', () => {
    const spared = async () => {
      const vm = await hollowBench();
      const spare = { ...vm.target(), id: '11111111-1111-4111-8111-111111111111', name: 'spare-1' };
      await qemu.warmPool.make(spare, bootConfig(), 'the keys', vm.call);
      return vm;
    };

    test('is taken by one create, which tells it who it is', async () => {
      await using vm = await spared();
      const { call, target, vms, computer } = vm;
      expect(await qemu.warmPool.list(computer)).toMatchObject([
        { image: 'sha256:1', cpus: 2, memory: 2048, disk: 20 },
      ]);
      expect(await qemu.warmPool.countReady(target(), call)).toBe(1);
      expect(await qemu.warmPool.take(target(), call)).toBe('the keys');
      // A create that was killed asks again.
      expect(await qemu.warmPool.take(target(), call)).toBe('the keys');
      expect(await qemu.warmPool.list(computer)).toEqual([]);
      expect(await qemu.create(target(), bootConfig(), call)).toEqual({ bootApplied: true, resumed: true });
      await qemu.waitUntilBooted(target(), call);
      expect(await readFile(join(vms, 'told'), 'utf8')).toMatch(/\nname web\nfile \/etc\/hostname 1\nweb\n/);
      expect(await readVm(vms)).toMatchObject({ id: ID, name: 'web', taken: true });
      expect(await readVm(vms)).not.toHaveProperty('born');
      expect(await readdir(vms)).not.toEqual(expect.arrayContaining([expect.stringMatching(/kept|spare|memory/)]));
      expect(await qemu.create(target(), bootConfig(), call)).toEqual({ bootApplied: true });
      expect(vm.notes).toEqual([]);
    });

    test('is taken by one of two creates, and the other says that it starts cold', async () => {
      await using vm = await spared();
      const { call, target } = vm;
      const other = { ...target(), id: '22222222-2222-4222-8222-222222222222', name: 'other' };
      const taken = await Promise.all([qemu.warmPool.take(target(), call), qemu.warmPool.take(other, call)]);
      expect(taken.filter(Boolean)).toEqual(['the keys']);
      expect(vm.notes).toEqual([
        expect.stringMatching(/^No spare machine is ready for (web|other), so it starts cold$/),
      ]);
      await qemu.remove(other, call);
    });

    test('is visited where something in it was started with another file', async () => {
      await using vm = await spared();
      await qemu.warmPool.take(vm.target(), vm.call);
      const files = [{ path: '/etc/docker/daemon.json', mode: '644', content: '{}\n' }];
      expect(await qemu.create(vm.target(), bootConfig({ files }), vm.call)).toEqual({
        bootApplied: false,
        resumed: true,
      });
    });

    test('that is damaged gives way to a cold start, for which it says why', async () => {
      await using vm = await spared();
      const { call, target, vms } = vm;
      await qemu.warmPool.take(target(), call);
      await flipByte(join(vms, 'memory'));
      await vm.call.recordRequest('');
      expect(await qemu.create(target(), bootConfig(), call)).toEqual({ bootApplied: true });
      expect(vm.notes).toEqual([
        expect.stringMatching(/^The spare machine for web can't be used, so it starts cold: .*memory/),
      ]);
      expect(await readVm(vms)).not.toHaveProperty('born');
      expect((await vm.starts()).at(-1)).toContain('slipway.seed=');
    });

    test('for which QEMU has no room gives way to a cold start too', async () => {
      await using vm = await spared();
      const { call, target, vms } = vm;
      await qemu.warmPool.take(target(), call);
      await writeFile(join(vms, 'refused'), 'no room');
      expect(await qemu.create(target(), bootConfig(), call)).toEqual({ bootApplied: true });
      expect(vm.notes).toEqual([
        "The spare machine for web can't be used, so it starts cold: QEMU could not start (it ended with exit status 1)",
      ]);
    });

    test('of another QEMU is removed, not used', async () => {
      await using vm = await spared();
      const { call, target, computer } = vm;
      const folder = join(computer.home, 'spares', '11111111-1111-4111-8111-111111111111');
      const about = await readFile(join(folder, 'spare.json'), 'utf8');
      await writeFile(join(folder, 'spare.json'), about.replace(/"mtimeMs": [\d.]+/, '"mtimeMs": 1'));
      expect(await qemu.warmPool.take(target(), call)).toBeUndefined();
      expect(vm.notes[0]).toMatch(/^A spare machine can't go on, and is removed: another QEMU wrote its memory \(\d/);
      expect(await readdir(join(computer.home, 'spares'))).toEqual([]);
    });

    test('is not taken by who wants none', async () => {
      await using vm = await spared();
      expect(await qemu.warmPool.take(vm.target({ warm: false }), vm.call)).toBeUndefined();
      expect(await qemu.warmPool.countReady(vm.target(), vm.call)).toBe(1);
      expect(await qemu.warmPool.isWanted(vm.target({ warm: false }), vm.call)).toBe(false);
      expect(vm.notes).toEqual([]);
    });

    test('goes with its image, and so does what is being made, process and all', async () => {
      await using vm = await spared();
      const { call, computer } = vm;
      const pool = join(computer.home, 'spares');
      expect(await qemu.warmPool.prune('sha256:2', call)).toEqual([]);
      expect(await qemu.warmPool.prune('sha256:1', call)).toHaveLength(1);
      expect(await readdir(pool)).toEqual([]);
      // A guest that never says that it is ready.
      await writeScript(join(computer.home, '..', 'bin', 'qemu-system-x86_64'), emptyVmScript('nothing yet\\n'));
      const id = '33333333-3333-4333-8333-333333333333';
      const making = catchRejection(
        qemu.warmPool.make({ ...vm.target(), id, name: 'spare-3' }, bootConfig(), 'keys', call),
      );
      const pidFile = join(pool, `.making-${id}`, 'qemu.pid');
      await expect.poll(() => readFile(pidFile, 'utf8').catch(() => ''), { timeout: 10_000 }).toMatch(/\d/);
      const pid = Number(await readFile(pidFile, 'utf8'));
      await qemu.warmPool.prune(undefined, call);
      expect(await making).toMatchObject({ code: 'CANCELED' });
      expect(await isProcessAlive(pid)).toBe(false);
      expect(await readdir(pool)).toEqual([]);
    });

    test.each<[string, Partial<Options>, string]>([
      ['another user', { sshUser: 'alice' }, 'its user is to be alice now'],
      ['another image', { image: 'debian-12' }, 'it is to have the image debian-12 (2) now'],
    ])('and was taken for a machine with %s gives way to a cold start', async (_what, more, why) => {
      await using vm = await spared();
      const { call, target, vms } = vm;
      await qemu.warmPool.take(target(), call);
      expect(await qemu.create(target(more), bootConfig(), call)).toEqual({ bootApplied: true });
      expect(vm.notes).toEqual([`The spare machine for web can't be used, so it starts cold: ${why}`]);
      expect(await readVm(vms)).toMatchObject(
        more.sshUser === undefined ? { image: 'sha256:2' } : { image: 'sha256:1', user: 'alice' },
      );
    });

    test('is left where it is when VMs lie on another disk, and then none is made', async () => {
      await using vm = await spared();
      const { call, target, computer } = vm;
      await using other = await createTemporaryFolder('/dev/shm');
      await rm(join(computer.home, 'vms'), { recursive: true, force: true });
      await symlink(other.path, join(computer.home, 'vms'));
      expect(await qemu.warmPool.take(target(), call)).toBeUndefined();
      expect(vm.notes).toEqual(['No spare machine is ready for web, so it starts cold']);
      expect(await qemu.warmPool.findObstacle(target(), call)).toMatch(/spares and .*vms are on two disks$/);
    });

    test('of whatever kind goes when the next one is made after its QEMU has changed', async () => {
      await using vm = await spared();
      const { call, computer } = vm;
      const pool = join(computer.home, 'spares');
      const [id = ''] = await readdir(pool);
      const about = await readFile(join(pool, id, 'spare.json'), 'utf8');
      await (await qemu.warmPool.lock(call))[Symbol.asyncDispose]();
      expect(await qemu.warmPool.list(computer)).toHaveLength(1);
      await writeFile(join(pool, id, 'spare.json'), about.replace(/"mtimeMs": [\d.]+/, '"mtimeMs": 1'));
      await (await qemu.warmPool.lock(call))[Symbol.asyncDispose]();
      expect(await readdir(pool)).toEqual(['.maker']);
    });

    test.each([0, 20, 40, 80, 160])('and is pruned %d ms after its making began leaves no process', async (ms) => {
      await using vm = await hollowBench();
      const { call, computer } = vm;
      await writeScript(join(computer.home, '..', 'bin', 'qemu-system-x86_64'), emptyVmScript('nothing yet\\n'));
      const pool = join(computer.home, 'spares');
      const id = randomUUID();
      const making = catchRejection(
        qemu.warmPool.make({ ...vm.target(), id, name: 'spare-4' }, bootConfig(), 'keys', call),
      );
      await expect.poll(() => readdir(pool).catch(() => []), { interval: 2 }).toContain(`.making-${id}`);
      await sleep(ms);
      await qemu.warmPool.prune(undefined, call);
      expect(execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' })).not.toContain(`-uuid ${id}`);
      expect(await making).toMatchObject({ code: 'CANCELED' });
      expect(await readdir(pool)).toEqual([]);
    });
  });
});

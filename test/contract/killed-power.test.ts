import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DriverCall, Target } from '../../src/drivers/contract.ts';
import { driver } from '../../src/drivers/qemu/driver.ts';
import { qemu as manifest } from '../../src/drivers/qemu/manifest.ts';
import { findFreePorts } from '../../src/drivers/qemu/ports.ts';
import { writeVm } from '../../src/drivers/qemu/vm-record.ts';
import { vmFolder } from '../../src/drivers/qemu/vm.ts';
import { openImageStore } from '../../src/images/image-store.ts';
import { emptyVmScript } from '../fakes/empty-vm.ts';
import { computerWithPrograms, writeScript } from '../fakes/executable-scripts.ts';
import { addImage } from '../fakes/fake-images.ts';
import { hasProgram } from '../fakes/run-program.ts';
import { vmWithId } from '../fakes/sample-vm.ts';
import { bundleModule, startScript } from '../fakes/script-process.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

type Verb = 'stop' | 'restart' | 'suspend' | 'start';
type QemuTarget = Target<ReturnType<typeof manifest.options.parse>>;

/** Milliseconds after which a command is killed. The last moments are after the end of most of them. */
const MOMENTS = [0, 30, 80, 150, 250, 400, 700];
const QCOW2_HEAD_BYTES = 32;

describe.runIf(hasProgram('qemu-system-x86_64'))('a command that is killed', () => {
  let folder: Awaited<ReturnType<typeof createTemporaryFolder>>;
  let module = '';
  const rows: string[] = [];
  beforeAll(async () => {
    folder = await createTemporaryFolder();
    module = await bundleModule('drivers/qemu/driver.ts', folder.path);
    await writeScript(join(folder.path, 'bin', 'qemu-system-x86_64'), emptyVmScript('slipway: ready\\n'));
  });
  afterAll(async () => {
    process.stdout.write(`\n${rows.length} kills\n${rows.join('\n')}\n`);
    await folder[Symbol.asyncDispose]();
  });

  const computer = () => computerWithPrograms(folder.path);
  const call = (): DriverCall => ({
    computer: computer(),
    log: () => {},
    note: () => {},
    signal: new AbortController().signal,
  });
  const stop = (target: QemuTarget, restarts = false) => driver.power?.stop(target, { seconds: 60, restarts }, call());
  const stateOf = async (target: QemuTarget): Promise<string> => {
    const status = await driver.machines.inspect(target, call());
    return status.state === 'stopped' && status.suspended ? 'suspended' : status.state;
  };

  /** Creates a VM with an image of its own store, and starts it. */
  async function startVm(): Promise<{ readonly target: QemuTarget; readonly place: string }> {
    const images = openImageStore(computer().home);
    const image = (await images.find('debian-13', 'amd64')) ?? (await addImage(images));
    const id = randomUUID();
    const target = { id, name: 'web', options: manifest.options.parse({ accelerator: 'tcg', disk: 2 }) };
    const place = vmFolder(computer(), id);
    await mkdir(place, { recursive: true, mode: 0o700 });
    const head = Buffer.alloc(QCOW2_HEAD_BYTES);
    head.writeBigUInt64BE(BigInt(2 * 1024 ** 3), 24);
    await writeFile(join(place, 'disk.qcow2'), head);
    await writeFile(join(place, 'obeys'), '');
    const [ssh = 0, engine = 0] = await findFreePorts(id, 2, [], computer());
    const { accelerator: _none, ...vm } = vmWithId(id, { imageDigest: image.digest, ports: { ssh, engine } });
    await writeVm(place, { ...vm, imageFolder: images.paths(image).folder });
    await driver.power?.start(target, call());
    return { target, place };
  }

  /** Runs a command in a process of its own, and kills it after a while. Returns whether it was still running. */
  async function killCommand(verb: Verb, target: QemuTarget, milliseconds: number): Promise<boolean> {
    const script = `
      import { driver } from ${JSON.stringify(module)};
      const call = { computer: ${JSON.stringify(computer())}, log: () => {}, note: () => {}, signal: new AbortController().signal };
      const target = ${JSON.stringify(target)};
      console.log('ready');
      const { power } = driver;
      if (${JSON.stringify(verb)} === 'stop') await power.stop(target, { seconds: 60 }, call);
      else if (${JSON.stringify(verb)} === 'suspend') await power.suspend(target, call);
      else {
        if (${JSON.stringify(verb)} === 'restart') await power.stop(target, { seconds: 60, restarts: true }, call);
        await power.start(target, call);
      }`;
    const command = await startScript(script, folder.path);
    await command.readLine();
    await sleep(milliseconds);
    command.process.kill('SIGKILL');
    const ended = await command.ended;
    // A command that failed proves nothing.
    expect([0, 'SIGKILL']).toContain(ended);
    return ended === 'SIGKILL';
  }

  /** Returns the processes that run in a folder: QEMU, its guard, and what either has started. */
  async function listProcesses(place: string): Promise<readonly string[]> {
    const found = [];
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      if (!(await readlink(`/proc/${pid}/cwd`).catch(() => '')).startsWith(place)) continue;
      found.push((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')[0] ?? '');
    }
    return found.filter((name) => name !== '');
  }

  /** What has to work after the kill, in this order, and the state in which the VM is then. */
  const NEXT: Readonly<Record<Verb, readonly (readonly [Verb, string])[]>> = {
    stop: [
      ['start', 'running'],
      ['stop', 'stopped'],
    ],
    restart: [
      ['restart', 'running'],
      ['stop', 'stopped'],
    ],
    suspend: [
      ['suspend', 'suspended'],
      ['start', 'running'],
    ],
    start: [
      ['start', 'running'],
      ['suspend', 'suspended'],
    ],
  };

  async function runCommand(verb: Verb, target: QemuTarget): Promise<void> {
    if (verb === 'stop') return await stop(target);
    if (verb === 'suspend') return await driver.power?.suspend?.(target, call());
    if (verb === 'restart') await stop(target, true);
    await driver.power?.start(target, call());
  }

  test.each(['stop', 'restart', 'suspend', 'start'] as const)(
    '%s, at any moment, is completed or undone by the next command, and leaves no process',
    async (verb) => {
      const { target, place } = await startVm();
      // A start that is killed resumes the VM, which has the most to lose.
      let kills = 0;
      for (const milliseconds of MOMENTS) {
        if (verb === 'start') await runCommand('suspend', target);
        else if ((await stateOf(target)) !== 'running') await runCommand('start', target);
        const killed = await killCommand(verb, target, milliseconds);
        if (killed) kills += 1;
        const after = await stateOf(target);
        for (const [next, state] of NEXT[verb]) {
          await runCommand(next, target);
          expect(await stateOf(target), `${verb} after ${milliseconds} ms, then ${next}`).toBe(state);
        }
        rows.push(`${verb.padEnd(8)} ${String(milliseconds).padStart(4)} ms ${killed ? 'killed' : 'ended '} ${after}`);
      }
      expect(kills).toBeGreaterThan(1);
      await driver.machines.remove(target, call());
      expect(await listProcesses(place)).toEqual([]);
      expect((await readdir(join(computer().home, 'vms'))).filter((name) => name.includes(target.id))).toEqual([]);
    },
    180_000,
  );
});

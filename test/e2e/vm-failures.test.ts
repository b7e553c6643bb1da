import { spawn, type ChildProcess } from 'node:child_process';
import { appendFile, chmod, cp, mkdir, readdir, readFile, stat, truncate, unlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { resolveImagesFolder } from '../bed/vm-prerequisites.ts';
import { expectSuccess, program, type User } from './test-user.ts';
import { describeOnVm, runInVmOrThrow, createVmUser, listQemuPids, VM_TIMEOUT_SECONDS, listVms } from './vm-user.ts';

describeOnVm('failures of local VMs', { timeout: VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  beforeEach(async () => {
    user = await createVmUser();
  });
  afterEach(async () => {
    await user[Symbol.asyncDispose]();
  });

  const docker = (name: string, ...argv: readonly string[]): Promise<string> =>
    expectSuccess(user.docker('--context', name, ...argv)).then(({ stdout }) => stdout.trim());
  /** Expects no process, no folder of a VM and no record. */
  const expectNothingLeft = async (): Promise<void> => {
    expect(await listQemuPids(user)).toEqual([]);
    expect(await readdir(join(user.home, '.slipway', 'vms')).catch(() => [])).toEqual([]);
    expect((await user.slipway('ls', '--quiet')).stdout.trim()).toBe('');
  };
  /** Gives this user a copy of the images, which a test can damage, and returns its folder. */
  const copyImages = async (): Promise<string> => {
    const folder = join(user.home, '.slipway', 'images');
    await unlink(folder);
    await cp(await resolveImagesFolder(), folder, { recursive: true, preserveTimestamps: true });
    return folder;
  };

  test('two creates at once succeed, a name in use is refused, and rm --force removes a broken record with its VM', async () => {
    const [one, two] = await Promise.all([user.slipway('create', 'one'), user.slipway('create', 'two')]);
    expect([one.code, two.code], one.stderr + two.stderr).toEqual([0, 0]);
    expect(await docker('one', 'info', '--format', '{{.Name}}')).toBe('one');
    expect(await docker('two', 'info', '--format', '{{.Name}}')).toBe('two');
    const ports = (await listVms(user)).flatMap((vm) => [vm.ports.ssh, vm.ports.engine]);
    expect(new Set(ports).size).toBe(4);
    const refusedCreate = await user.slipway('create', 'one');
    expect(refusedCreate.code).toBe(3);
    expect(refusedCreate.stderr).toContain('Machine "one" already exists');
    // An image in use is not removed.
    const refusedRemoval = await user.slipway('image', 'rm', 'debian-13');
    expect([refusedRemoval.code, refusedRemoval.stderr]).toEqual([3, expect.stringContaining('one and two') as string]);
    await expectSuccess(user.slipway('rm', 'one'));
    // A machine with a broken record is removed with its VM.
    await writeFile(join(user.home, '.slipway', 'machines', 'two', 'machine.json'), 'garbage');
    await expectSuccess(user.slipway('rm', '--force', 'two'));
    await expectNothingLeft();
  });

  test('a create with a port in use, too much memory or too small a disk is refused, and leaves nothing', async () => {
    await using server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const tooMuch = Math.ceil(totalmem() / 1024 / 1024) + 1;
    for (const [argv, code, sentence] of [
      [['--qemu-engine-port', String(port)], 4, `Port ${port} of 127.0.0.1`],
      [['--qemu-memory', String(tooMuch)], 2, `would have ${tooMuch} MB of memory, but this computer has`],
      [['--image', 'debian-9'], 2, 'Image "debian-9" is unknown'],
      [['--image', './none.qcow2'], 2, 'none.qcow2 does not exist'],
    ] as const) {
      const refused = await user.slipway('create', 'dev', ...argv);
      expect([refused.code, refused.stderr]).toEqual([code, expect.stringContaining(sentence) as string]);
      expect(await listQemuPids(user)).toEqual([]);
      await expectNothingLeft();
    }
  });

  test('an image that has changed is refused, and so is a machine on it', async () => {
    const images = await copyImages();
    const [name = ''] = (await readdir(images)).filter((entry) => entry.startsWith('debian-13'));
    const disk = join(images, name, 'disk.qcow2');
    const before = await stat(disk);
    await chmod(disk, 0o600);
    await appendFile(disk, 'x');
    const refused = await user.slipway('create', 'dev');
    expect([refused.code, refused.stderr]).toEqual([12, expect.stringContaining('disk.qcow2') as string]);
    expect(refused.stderr).toContain('slipway image build debian-13 --arch amd64 --force');
    expect(await listQemuPids(user)).toEqual([]);
    await truncate(disk, before.size);
    await expectSuccess(user.slipway('rm', 'dev'));
    await expectNothingLeft();
  });

  test('a create that is killed at any moment is finished by the next one, and undone by rm', async () => {
    const moments = [0.2, 0.6, 1.5, 3, 8];
    for (const seconds of moments) {
      const { process: child, ended } = user.start('create', 'dev');
      await sleep(seconds * 1000);
      child.kill('SIGKILL');
      await ended;
      // `ls` works in every state.
      await expectSuccess(user.slipway('ls'));
      if (seconds === moments.at(-1)) break;
      const { stdout } = await user.slipway('ls', '--quiet');
      if (stdout.trim() !== '') await expectSuccess(user.slipway('rm', 'dev'));
      await expectNothingLeft();
    }
    await expectSuccess(user.slipway('create', 'dev'));
    expect(await docker('dev', 'info', '--format', '{{.Name}}')).toBe('dev');
    expect((await listQemuPids(user)).length).toBe(1);
    await expectSuccess(user.slipway('rm', 'dev'));
    await expectNothingLeft();
  });

  test('Ctrl-C during a start stops create at once, which says that the machine is incomplete', async () => {
    const { process: child, ended } = user.start('create', 'dev');
    await expect.poll(async () => (await listQemuPids(user)).length, { timeout: 60_000 }).toBe(1);
    child.kill('SIGINT');
    const { code, stderr } = await ended;
    expect(code).toBe(130);
    expect(stderr).toContain('machine "dev" is incomplete');
    await expectSuccess(user.slipway('rm', 'dev'));
    await expectNothingLeft();
  });
});

/** Both tests use one machine, since an emulated one takes a minute to start. */
describeOnVm('a local VM on a small disk of this computer', { timeout: VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  let folder = '';
  let create: ChildProcess | undefined;
  const readStatus = async (name: string): Promise<{ state: string; trouble: string }> =>
    JSON.parse((await user.slipway('status', name, '--json')).stdout) as { state: string; trouble: string };

  beforeAll(async () => {
    user = await createVmUser();
    folder = join(user.home, '.slipway', 'vms');
    await mkdir(folder, { recursive: true });
    await expectSuccess(user.run('mount', ['-t', 'tmpfs', '-o', 'size=1200m', 'tmpfs', folder]));
  });
  afterAll(async () => {
    // A create of a failed test may still run.
    create?.kill('SIGKILL');
    try {
      const { stdout } = await user.slipway('ls', '--quiet');
      if (stdout.trim() !== '') await expectSuccess(user.slipway('rm', '--force', 'dev'));
    } finally {
      await user.run('umount', ['-l', folder]);
      await user[Symbol.asyncDispose]();
    }
  });

  test('that exits while it starts is reported at once, with the end of its console, and continued by create', async () => {
    const { process: child, ended } = user.start('create', 'dev');
    create = child;
    await expect.poll(async () => (await listQemuPids(user)).length, { timeout: 60_000 }).toBe(1);
    const [vm] = await listVms(user);
    const console = join(vm?.folder ?? '', 'console.log');
    await expect.poll(() => readFile(console, 'utf8').catch(() => ''), { timeout: 60_000 }).toContain('systemd');
    const [pid = 0] = await listQemuPids(user);
    process.kill(pid, 'SIGKILL');
    const outcome = await ended;
    expect([outcome.code, outcome.stderr]).toEqual([
      5,
      expect.stringContaining('exited while it was starting') as string,
    ]);
    expect(outcome.stderr).toMatch(/│ .*systemd/);
    // The next create continues it.
    await expectSuccess(user.slipway('create', 'dev'));
    const { stdout } = await expectSuccess(user.docker('--context', 'dev', 'info', '--format', '{{.Name}}'));
    expect(stdout.trim()).toBe('dev');
  });

  test('is paused while the disk of this computer is full, says so, and is resumed by start', async () => {
    await expectSuccess(user.run('mount', ['-o', 'remount,size=300m', folder]));
    const diskFiller = spawn(
      process.execPath,
      [program, 'ssh', 'dev', 'dd if=/dev/urandom of=big bs=1M count=600; sync; echo written'],
      {
        env: user.env,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let output = '';
    diskFiller.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    await expect.poll(async () => (await readStatus('dev')).state, { timeout: 120_000, interval: 1000 }).toBe('paused');
    expect((await readStatus('dev')).trouble).toContain('is full');
    const pids = await listQemuPids(user);
    // None of them is a power cut: the guest has data that is not on its disk yet.
    for (const argv of [['start'], ['stop'], ['restart'], ['stop', '--suspend']]) {
      const refused = await user.slipway(...argv, 'dev');
      expect([refused.code, refused.stderr]).toEqual([10, expect.stringContaining('Free up space there') as string]);
      expect([(await readStatus('dev')).state, await listQemuPids(user)]).toEqual(['paused', pids]);
    }
    await expectSuccess(user.run('mount', ['-o', 'remount,size=3g', folder]));
    await expectSuccess(user.slipway('start', 'dev'));
    await expect.poll(() => output, { timeout: 120_000 }).toContain('written');
    expect(await runInVmOrThrow(user, 'dev', 'stat -c %s big')).toBe(String(600 * 1024 * 1024));
    await expectSuccess(user.slipway('rm', 'dev'));
  });
});

describeOnVm('image build', { timeout: VM_TIMEOUT_SECONDS * 1000 }, () => {
  test('leaves nothing after Ctrl-C or kill -9, and then succeeds', async () => {
    await using user = await createVmUser();
    const images = join(user.home, '.slipway', 'images');
    await unlink(images);
    const listCompleteImages = async (): Promise<readonly string[]> =>
      (await readdir(images).catch(() => [])).filter((entry) => entry.startsWith('debian'));
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const { process: child, ended } = user.start('image', 'build', 'debian-13');
      await sleep(6000);
      child.kill(signal);
      const { code } = await ended;
      expect(code).toBe(signal === 'SIGINT' ? 130 : 137);
      expect(await listCompleteImages()).toEqual([]);
    }
    await expectSuccess(user.slipway('image', 'build', 'debian-13'));
    expect((await listCompleteImages()).length).toBe(1);
    expect((await readdir(images)).filter((entry) => entry.startsWith('.new-'))).toEqual([]);
    const { stdout } = await expectSuccess(user.slipway('image', 'ls'));
    expect(stdout).toMatch(/debian-13 +amd64 +\w+ +26\.1/);
    // The image exists and is not built again.
    const secondBuild = await expectSuccess(user.slipway('image', 'build', 'debian-13'));
    expect(secondBuild.stdout).toContain('is already here');
    await expectSuccess(user.slipway('image', 'rm', 'debian-13'));
    expect(await listCompleteImages()).toEqual([]);
  });
});

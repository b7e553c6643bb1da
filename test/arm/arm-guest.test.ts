import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectSuccess, type Outcome, type User } from '../e2e/test-user.ts';
import { createVmUser, describeOnVm, listQemuPids, listVms, runInVmOrThrow } from '../e2e/vm-user.ts';

/** A command with an emulated processor takes minutes on a busy computer. */
const TIMEOUT_SECONDS = 1800;

/** A Mac with an Apple chip has such guests too, and other QEMU code: its accelerator, its paths and its network. */
describeOnVm('a local VM for arm64 on x86-64, in software emulation', { timeout: TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  let creation: { readonly stderr: string };
  const docker = (...argv: readonly string[]): Promise<string> =>
    expectSuccess(user.docker('--context', 'dev', ...argv)).then(({ stdout }) => stdout.trim());
  const readBootId = (): Promise<string> => runInVmOrThrow(user, 'dev', 'cat /proc/sys/kernel/random/boot_id');
  const readState = async (): Promise<string> =>
    (JSON.parse((await user.slipway('status', 'dev', '--json')).stdout) as { readonly state: string }).state;

  beforeAll(async () => {
    user = await createVmUser();
    creation = await expectSuccess(user.slipway('create', 'dev', '--qemu-arch', 'arm64', '--yes'));
  }, TIMEOUT_SECONDS * 1000);
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  }, TIMEOUT_SECONDS * 1000);

  test('create says that it is slow, and its engine runs containers for arm64', async () => {
    expect(creation.stderr).toMatch(/for arm64 and this computer is amd64, .* times slower/);
    expect(await docker('info', '--format', '{{.Name}} {{.Architecture}}')).toBe('dev aarch64');
    expect(await runInVmOrThrow(user, 'dev', 'uname -m')).toBe('aarch64');
    // No registry is needed: the container image contains the machine's own busybox.
    await runInVmOrThrow(
      user,
      'dev',
      `tar -c -C / bin/busybox | sudo docker import --change 'CMD ["/bin/busybox", "uname", "-m"]' - tools`,
    );
    expect(await docker('image', 'inspect', '--format', '{{.Os}}/{{.Architecture}}', 'tools')).toBe('linux/arm64');
    expect(await docker('run', '--rm', 'tools')).toBe('aarch64');
    const { stdout } = await expectSuccess(user.slipway('inspect', 'dev'));
    expect(JSON.parse(stdout)).toMatchObject({ spec: { options: { arch: 'arm64' } } });
  });

  test('has no failed unit, and provision finds nothing to do', async () => {
    expect(
      await runInVmOrThrow(user, 'dev', 'systemctl is-system-running --wait; systemctl --failed --no-legend'),
    ).toBe('running');
    const { stdout } = await expectSuccess(user.slipway('provision', 'dev', '--dry-run'));
    expect(stdout.trim()).toBe('dev: nothing to do');
  });

  test('stop shuts its system down, and start boots it with its data', async () => {
    await runInVmOrThrow(user, 'dev', 'sudo mkdir -p /var/log/journal && sudo journalctl --flush');
    await docker('run', '--volume', 'kept:/data', 'tools', '/bin/busybox', 'sh', '-c', 'echo precious >/data/file');
    const before = await readBootId();
    const { stderr } = await expectSuccess(user.slipway('stop', '--timeout', '600', 'dev'));
    expect(stderr).not.toMatch(/powered off|still shutting down/);
    expect(await listQemuPids(user)).toEqual([]);
    expect(await readState()).toBe('stopped');
    await expectSuccess(user.slipway('start', 'dev'));
    expect(await readBootId()).not.toBe(before);
    const journal = await runInVmOrThrow(user, 'dev', 'sudo journalctl --no-pager --boot -1 --output cat');
    expect(journal).toContain('Stopped docker.service');
    expect(journal).toContain('Reached target poweroff.target');
    expect(journal.trim().split('\n').at(-1)).toBe('Journal stopped');
    expect(await docker('run', '--rm', '--volume', 'kept:/data', 'tools', '/bin/busybox', 'cat', '/data/file')).toBe(
      'precious',
    );
  });

  test('restart reaches its system, too', async () => {
    const before = await readBootId();
    const { stderr } = await expectSuccess(user.slipway('restart', '--timeout', '600', 'dev'));
    expect(stderr).not.toMatch(/powered off/);
    expect(await readBootId()).not.toBe(before);
  });

  test('stop --suspend keeps its memory, and start resumes it with the right clock', async () => {
    await docker('run', '--detach', '--name', 'service', 'tools', '/bin/busybox', 'sleep', '100000');
    const before = [await readBootId(), await docker('inspect', '--format', '{{.State.StartedAt}}', 'service')];
    await expectSuccess(user.slipway('stop', '--suspend', 'dev'));
    expect(await listQemuPids(user)).toEqual([]);
    expect(await readState()).toBe('suspended');
    await expectSuccess(user.slipway('start', 'dev'));
    const after = [await readBootId(), await docker('inspect', '--format', '{{.State.StartedAt}}', 'service')];
    expect(after).toEqual(before);
    // A login takes seconds in emulation.
    const clock = Number(await runInVmOrThrow(user, 'dev', 'date +%s'));
    expect(Math.abs(Date.now() / 1000 - clock)).toBeLessThan(60);
  });

  test('stop of a resumed machine shuts its system down', async () => {
    const { stderr } = await expectSuccess(user.slipway('stop', '--timeout', '600', 'dev'));
    expect(stderr).not.toMatch(/powered off/);
    const [vm] = await listVms(user);
    expect(await readFile(join(vm?.folder ?? '', 'console.log'), 'utf8')).toMatch(/Reached target.*Power Off/);
  });

  test('rm leaves no process and no file', async () => {
    await expectSuccess(user.slipway('rm', 'dev'));
    expect(await listQemuPids(user)).toEqual([]);
    expect(await readdir(join(user.home, '.slipway', 'vms'))).toEqual([]);
    expect(await readdir(join(user.home, '.slipway', 'machines'))).toEqual([]);
    expect((await user.docker('context', 'ls', '--quiet')).stdout.trim()).toBe('default');
  });
});

describeOnVm('on a computer that says it is an ARM computer', { timeout: TIMEOUT_SECONDS * 1000 }, () => {
  test('a machine is for arm64 by default, and stop shuts its system down', async () => {
    await using user = await createVmUser();
    const preload = fileURLToPath(new URL('../fakes/arm-computer.mjs', import.meta.url));
    const slipway = (...argv: readonly string[]): Promise<Outcome> =>
      expectSuccess(user.slipwayWith({ env: { NODE_OPTIONS: `--import=${preload}` } }, ...argv));
    const { stderr } = await slipway('create', 'dev', '--driver', 'qemu');
    // As on such a computer: hardware acceleration is tried first, which no x86 processor has for ARM.
    expect(stderr).toMatch(/kvm does not work on this computer/);
    expect(stderr).not.toMatch(/is for arm64 and this computer is/);
    const { stdout } = await expectSuccess(user.docker('--context', 'dev', 'info', '--format', '{{.Architecture}}'));
    expect(stdout.trim()).toBe('aarch64');
    expect((await slipway('stop', '--timeout', '600', 'dev')).stderr).not.toMatch(/powered off/);
    await slipway('rm', 'dev');
    expect(await listQemuPids(user)).toEqual([]);
  });
});

import { readdir, readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadToolsImage } from './tools-image.ts';
import { expectSuccess, type User } from './test-user.ts';
import {
  describeOnVm,
  runInVm,
  runInVmOrThrow,
  createVmUser,
  listQemuPids,
  countVmEngineStarts,
  VM_TIMEOUT_SECONDS,
  listVms,
} from './vm-user.ts';

describeOnVm('a local VM, from create to rm', { timeout: VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  const docker = (...argv: readonly string[]): Promise<string> =>
    expectSuccess(user.docker('--context', 'dev', ...argv)).then(({ stdout }) => stdout.trim());
  const readState = async (): Promise<string> => {
    const { stdout } = await user.slipway('status', 'dev', '--json');
    return (JSON.parse(stdout) as { state: string }).state;
  };

  beforeAll(async () => {
    user = await createVmUser();
    // Without a driver and an address, the machine is a local VM.
    await expectSuccess(user.slipway('create', 'dev', '--engine-label', 'zone=a'));
    await loadToolsImage(user, 'dev');
  }, VM_TIMEOUT_SECONDS * 1000);
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  });

  test('create makes its engine available, which has started once, with the requested options', async () => {
    expect(await docker('info', '--format', '{{.Name}} {{json .Labels}}')).toBe('dev ["zone=a"]');
    expect(await docker('run', '--rm', 'tools', 'echo', 'from inside')).toBe('from inside');
    expect(await countVmEngineStarts(user, 'dev')).toBe(1);
  });

  test('has its name, user, groups and machine id', async () => {
    expect(await runInVmOrThrow(user, 'dev', 'hostname; whoami; id -nG; sudo id -un')).toBe(
      'dev\nslipway\nslipway sudo docker\nroot',
    );
    const [vm] = await listVms(user);
    expect(await runInVmOrThrow(user, 'dev', 'cat /etc/machine-id')).toBe(vm?.id.replaceAll('-', ''));
    expect(
      await runInVmOrThrow(user, 'dev', 'cut -d" " -f1,2 /etc/ssh/ssh_host_ed25519_key.pub; ls /etc/ssh/ssh_host_*'),
    ).toBe(
      [
        (await readFile(join(user.home, '.slipway/machines/dev/ssh/host_ed25519.pub'), 'utf8'))
          .split(' ')
          .slice(0, 2)
          .join(' '),
        '/etc/ssh/ssh_host_ed25519_key',
        '/etc/ssh/ssh_host_ed25519_key.pub',
      ].join('\n'),
    );
  });

  test('has no failed unit, and AppArmor policies that were compiled before its first start', async () => {
    expect(
      await runInVmOrThrow(user, 'dev', 'systemctl is-system-running --wait; systemctl --failed --plain --no-legend'),
    ).toBe('running');
    const countProfiles = 'sudo cat /sys/kernel/security/apparmor/profiles | grep -c "(enforce)\\|(unconfined)"';
    expect(Number(await runInVmOrThrow(user, 'dev', countProfiles))).toBeGreaterThan(50);
    // .features is no policy: apparmor_parser writes there which features of the kernel the policies beside it are for,
    // when it opens the cache and finds no such list. That compiles nothing.
    const findCachedPolicies = 'sudo find /var/cache/apparmor -type f ! -name .features';
    expect(Number(await runInVmOrThrow(user, 'dev', `${findCachedPolicies} | wc -l`))).toBeGreaterThan(50);
    expect(await runInVmOrThrow(user, 'dev', `${findCachedPolicies} -newer /proc/1`)).toBe('');
    expect(await docker('run', '--rm', 'tools', 'cat', '/proc/self/attr/current')).toContain(
      'docker-default (enforce)',
    );
  });

  test('provision finds nothing to do', async () => {
    const { stdout } = await expectSuccess(user.slipway('provision', 'dev', '--dry-run'));
    expect(stdout.trim()).toBe('dev: nothing to do');
    await expectSuccess(user.slipway('provision', 'dev'));
    expect(await countVmEngineStarts(user, 'dev')).toBe(1);
  });

  test("its engine refuses clients without a certificate, and other computers can't connect", async () => {
    const [vm] = await listVms(user);
    const stranger = await user.run('curl', ['-sSk', `https://127.0.0.1:${vm?.ports.engine}/version`]);
    expect([stranger.code, stranger.stderr]).toEqual([56, expect.stringContaining('certificate required') as string]);
    const { stdout } = await user.run('sh', ['-c', 'cat /proc/net/tcp /proc/net/tcp6']);
    const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, '0');
    const listeners = stdout.split('\n').filter((line) => / 0A /.test(line));
    for (const port of [vm?.ports.ssh ?? 0, vm?.ports.engine ?? 0]) {
      const ownListeners = listeners.filter((line) => line.includes(`:${hex(port)} `));
      expect(ownListeners.map((line) => line.trim().split(/\s+/)[1])).toEqual([`0100007F:${hex(port)}`]);
    }
  });

  test('only the user can read its files, and the seed is deleted', async () => {
    const [vm] = await listVms(user);
    expect(((await stat(vm?.folder ?? '')).mode & 0o777).toString(8)).toBe('700');
    expect((await readdir(vm?.folder ?? '')).toSorted()).toEqual([
      'console.log',
      'disk.qcow2',
      'monitor.sock',
      'port.sock',
      'qemu.log',
      'qemu.pid',
      'vm.json',
    ]);
    const { stdout } = await user.run('sh', ['-c', `tr '\\0' '\\n' </proc/${(await listQemuPids(user))[0]}/cmdline`]);
    expect(stdout).not.toMatch(/BEGIN|PRIVATE|AAAA/);
  });

  test('ssh and provision refuse another host key than the pinned one', async () => {
    const replaceHostKey =
      'sudo sh -c "cp -p /etc/ssh/ssh_host_ed25519_key /root/kept; rm /etc/ssh/ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N \\"\\" -f /etc/ssh/ssh_host_ed25519_key; systemctl restart ssh"';
    await expectSuccess(runInVm(user, 'dev', replaceHostKey));
    try {
      const refused = await runInVm(user, 'dev', 'true');
      expect(refused.code).toBe(255);
      expect(refused.stderr).toContain('Host key verification failed');
      const provision = await user.slipway('provision', 'dev');
      expect(provision.code).toBe(6);
      expect(provision.stderr).toMatch(/host key/i);
    } finally {
      // Through the engine, since SSH does not work now.
      const restoreHostKey =
        'cat /host/root/kept >/host/etc/ssh/ssh_host_ed25519_key; kill -HUP $(cat /host/run/sshd.pid)';
      const hostAccess = ['--pid', 'host', '--security-opt', 'apparmor=unconfined', '--volume', '/:/host'];
      await docker('run', '--rm', ...hostAccess, 'tools', 'sh', '-c', restoreHostKey);
    }
    await expectSuccess(runInVm(user, 'dev', 'true'));
  });

  test('ssh passes the exit status through', async () => {
    expect((await runInVm(user, 'dev', 'exit 42')).code).toBe(42);
  });

  test('stop and start keep its ports and its data, and its status is right within seconds', async () => {
    const [before] = await listVms(user);
    await docker('run', '--rm', '--volume', 'kept:/data', 'tools', 'sh', '-c', 'echo precious >/data/file');
    await docker('run', '--detach', '--restart', 'always', '--name', 'service', 'tools', 'sleep', '100000');
    await expectSuccess(user.slipway('stop', 'dev'));
    const askedAt = performance.now();
    expect(await readState()).toBe('stopped');
    expect((performance.now() - askedAt) / 1000).toBeLessThan(5);
    expect((await user.slipway('status', 'dev')).code).toBe(1);
    expect((await expectSuccess(user.slipway('ls'))).stdout).toMatch(/dev .*stopped/);
    expect(await listQemuPids(user)).toEqual([]);
    expect((await user.docker('--context', 'dev', 'ps')).code).not.toBe(0);
    // Stopping a stopped machine is no error.
    await expectSuccess(user.slipway('stop', 'dev'));
    const refused = await user.slipway('ssh', 'dev', 'true');
    expect(refused.code).not.toBe(0);

    await expectSuccess(user.slipway('start', 'dev'));
    expect(await readState()).toBe('running');
    const [after] = await listVms(user);
    expect(after?.ports).toEqual(before?.ports);
    expect(await docker('run', '--rm', '--volume', 'kept:/data', 'tools', 'cat', '/data/file')).toBe('precious');
    expect(await docker('ps', '--format', '{{.Names}}')).toBe('service');
    expect(await countVmEngineStarts(user, 'dev')).toBe(1);
    // Starting a running machine is no error.
    await expectSuccess(user.slipway('start', 'dev'));
  });

  test('start after kill -9 of QEMU uses another port if its own is in use, also in the context', async () => {
    const [before] = await listVms(user);
    await runInVmOrThrow(user, 'dev', 'sync');
    const [pid = 0] = await listQemuPids(user);
    process.kill(pid, 'SIGKILL');
    await expect.poll(readState, { timeout: 5000 }).toBe('stopped');
    const otherServer = createServer();
    await new Promise<void>((resolve) => otherServer.listen(before?.ports.engine, '127.0.0.1', resolve));
    try {
      const { stderr } = await expectSuccess(user.slipway('start', 'dev'));
      expect(stderr).toContain(`Port ${before?.ports.engine} of 127.0.0.1 is in use by another program`);
    } finally {
      otherServer.close();
    }
    const [after] = await listVms(user);
    expect(after?.ports.engine).not.toBe(before?.ports.engine);
    expect(after?.ports.ssh).toBe(before?.ports.ssh);
    expect(await docker('run', '--rm', '--volume', 'kept:/data', 'tools', 'cat', '/data/file')).toBe('precious');
  });

  test('a reboot from inside is not shown as running before the engine answers, and the context works again', async () => {
    await runInVm(user, 'dev', 'sudo systemctl reboot');
    const states = new Set<string>();
    await expect
      .poll(
        async () => {
          const state = await readState();
          states.add(state);
          // A machine that is shown as running answers.
          if (state === 'running') await docker('version');
          return state === 'running' && states.size > 1;
        },
        { timeout: 300_000, interval: 1000 },
      )
      .toBe(true);
    states.delete('running');
    expect([...states].every((word) => word === 'starting' || word === 'no engine')).toBe(true);
    expect(await countVmEngineStarts(user, 'dev')).toBe(1);
    expect(await docker('ps', '--format', '{{.Names}}')).toBe('service');
  });

  test('rm leaves no process, no port, no file and no context', async () => {
    const [vm] = await listVms(user);
    await expectSuccess(user.slipway('rm', 'dev'));
    expect(await listQemuPids(user)).toEqual([]);
    expect(await readdir(join(user.home, '.slipway', 'vms'))).toEqual([]);
    expect(await readdir(join(user.home, '.slipway', 'machines'))).toEqual([]);
    const portProbe = createServer();
    await new Promise<void>((resolve, reject) => {
      portProbe.once('error', reject).listen(vm?.ports.engine, '127.0.0.1', resolve);
    });
    portProbe.close();
    expect((await user.docker('context', 'ls', '--quiet')).stdout.trim()).toBe('default');
    // Removing a machine that does not exist is an error.
    expect((await user.slipway('rm', 'dev')).code).toBe(3);
  });
});

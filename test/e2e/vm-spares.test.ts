import { open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadToolsImage } from './tools-image.ts';
import { expectSuccess, type Outcome, type User } from './test-user.ts';
import {
  describeOnVm,
  runInVmOrThrow,
  createVmUser,
  listQemuPids,
  countVmEngineStarts,
  VM_TIMEOUT_SECONDS,
  listVms,
} from './vm-user.ts';

type SpareInfo = { readonly id: string; readonly bytes: number };

describeOnVm('spares', { timeout: VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  let pool = '';
  /** The folder of a copy of a spare, from which tests refill the pool. */
  let copy = '';
  const small = ['--qemu-memory', '1024'];
  const slipwayWithSpares = (...argv: readonly string[]): Promise<Outcome> =>
    user.slipwayWith({ env: { SLIPWAY_QEMU_WARM: 'true' } }, ...argv);
  const docker = (name: string, ...argv: readonly string[]): Promise<string> =>
    expectSuccess(user.docker('--context', name, ...argv)).then(({ stdout }) => stdout.trim());
  const listSpares = async (): Promise<readonly SpareInfo[]> => {
    const { stdout } = await expectSuccess(user.slipway('image', 'ls', '--json'));
    return (JSON.parse(stdout) as readonly { readonly spares: readonly SpareInfo[] }[]).flatMap((row) => row.spares);
  };
  const countSpares = async (): Promise<number> => (await listSpares()).length;
  const readState = async (name: string): Promise<string> =>
    (JSON.parse((await user.slipway('status', name, '--json')).stdout) as { state: string }).state;
  const measureClockError = async (name: string): Promise<number> =>
    Math.abs(Date.now() / 1000 - Number(await runInVmOrThrow(user, name, 'date +%s.%N')));
  /** Reads everything in one session, since an emulated machine takes seconds for each. */
  const readGuestSecrets = async (name: string): Promise<Readonly<Record<string, string>>> => {
    const commands = {
      id: 'cat /etc/machine-id',
      boot: 'cat /proc/sys/kernel/random/boot_id',
      state: 'sudo cat /etc/docker/slipway/state.json',
      hostKey: 'cat /etc/ssh/ssh_host_ed25519_key.pub',
      serverKey: 'sudo cat /etc/docker/slipway/server-key.pem',
      random: 'head -c 32 /dev/urandom | base64',
    };
    const script = Object.values(commands).map((command) => `{ ${command}; } || exit; echo =====`);
    const texts = (await runInVmOrThrow(user, name, script.join('; '))).split('=====');
    const entries = Object.keys(commands).map((key, at) => [key, texts[at]?.trim() ?? ''] as const);
    for (const [key, text] of entries) expect(text, key).not.toBe('');
    return Object.fromEntries(entries);
  };
  /** Fills the pool with two copies of one spare: a create takes one, the other is left, and so no build starts. */
  const refillPool = async (): Promise<void> => {
    await expectSuccess(user.slipway('image', 'prune'));
    for (const id of ['copy-1', 'copy-2']) {
      const folder = join(pool, id);
      await expectSuccess(user.run('cp', ['-a', copy, folder]));
      await expectSuccess(user.run('sed', ['-i', `0,/"id": "[^"]*"/s//"id": "${id}"/`, join(folder, 'spare.json')]));
    }
  };

  beforeAll(async () => {
    user = await createVmUser();
    pool = join(user.home, '.slipway', 'spares');
    copy = join(user.home, 'spare');
    await expectSuccess(user.slipway('image', 'warm', ...small));
    const [spare] = await listSpares();
    await expectSuccess(user.run('cp', ['-a', join(pool, spare?.id ?? ''), copy]));
  }, VM_TIMEOUT_SECONDS * 1000);
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  });

  test('are suspended, take a fraction of their memory on disk, and only the user can read them', async () => {
    expect(await listQemuPids(user)).toEqual([]);
    const [spare, ...more] = await listSpares();
    expect(more).toEqual([]);
    expect(spare?.bytes).toBeLessThan(400_000_000);
    expect((await stat(join(pool, spare?.id ?? ''))).mode & 0o777).toBe(0o700);
    expect((await stat(join(pool, spare?.id ?? '', 'memory'))).mode & 0o777).toBe(0o600);
    // The seed, which contains keys, was applied and deleted.
    expect(await readdir(join(pool, spare?.id ?? ''))).not.toContain('seed.tar');
    expect((await expectSuccess(user.slipway('image', 'warm', ...small))).stdout).toContain('ready already');
  });

  test('create takes a spare, and another one is built afterwards', async () => {
    const { stderr } = await expectSuccess(slipwayWithSpares('create', 'one', ...small));
    expect(stderr).not.toContain('cold');
    expect(await docker('one', 'info', '--format', '{{.Name}}')).toBe('one');
    expect(await runInVmOrThrow(user, 'one', 'hostname; cat /etc/hostname; getent hosts one')).toBe(
      'one\none\n127.0.1.1       one',
    );
    expect(await measureClockError('one')).toBeLessThan(5);
    // Nothing was restarted, and nothing needs to be.
    expect(await countVmEngineStarts(user, 'one')).toBe(1);
    expect((await expectSuccess(user.slipway('provision', 'one', '--dry-run'))).stdout.trim()).toBe(
      'one: nothing to do',
    );
    await loadToolsImage(user, 'one');
    expect(await docker('one', 'run', '--rm', 'tools', 'echo', 'inside')).toBe('inside');
    const [vm] = await listVms(user);
    const stranger = await user.run('curl', ['-sSk', `https://127.0.0.1:${vm?.ports.engine}/version`]);
    expect(stranger.stderr).toContain('certificate required');
    expect(await readdir(vm?.folder ?? '')).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/kept|spare|^memory/)]),
    );
    await expect.poll(countSpares, { timeout: VM_TIMEOUT_SECONDS * 1000, interval: 2000 }).toBe(1);
  });

  test('stop --suspend and start keep what runs, and the clock is right', async () => {
    await docker('one', 'run', '--detach', '--name', 'service', 'tools', 'sleep', '100000');
    const startedBefore = await docker('one', 'inspect', '--format', '{{.State.Pid}} {{.State.StartedAt}}', 'service');
    const boot = await runInVmOrThrow(user, 'one', 'cat /proc/sys/kernel/random/boot_id');
    await expectSuccess(user.slipway('stop', '--suspend', 'one'));
    expect(await listQemuPids(user)).toEqual([]);
    expect(await readState('one')).toBe('suspended');
    expect((await user.slipway('ssh', 'one', 'true')).code).not.toBe(0);
    expect(await user.slipway('provision', 'one')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('"one" is suspended') as string,
    });
    // Suspending a suspended machine is no error.
    await expectSuccess(user.slipway('stop', '--suspend', 'one'));
    await sleep(6000);
    const { stderr } = await expectSuccess(user.slipway('start', 'one'));
    expect(stderr).not.toContain('starts from its disk');
    expect(await runInVmOrThrow(user, 'one', 'cat /proc/sys/kernel/random/boot_id')).toBe(boot);
    expect(await docker('one', 'inspect', '--format', '{{.State.Pid}} {{.State.StartedAt}}', 'service')).toBe(
      startedBefore,
    );
    expect(await measureClockError('one')).toBeLessThan(5);
  });

  test('one of two creates takes the only spare, and the other one starts cold and says so', async () => {
    const outcomes = await Promise.all([
      slipwayWithSpares('create', 'two', ...small),
      slipwayWithSpares('create', 'three', ...small),
    ]);
    expect(
      outcomes.map(({ code }) => code),
      outcomes.map(({ stderr }) => stderr).join(''),
    ).toEqual([0, 0]);
    expect(outcomes.filter(({ stderr }) => stderr.includes('No spare is ready for'))).toHaveLength(1);
    // Stops the build of the next spare.
    await expectSuccess(user.slipway('image', 'prune'));
    expect(await listQemuPids(user)).toHaveLength(3);
    expect((await readdir(pool)).filter((entry) => !/^(\.maker|last\.log)$/.test(entry))).toEqual([]);
  });

  test('no two machines share a key, a certificate or an id', async () => {
    const all = await Promise.all(
      ['one', 'two', 'three'].map(async (name) => {
        const machine = join(user.home, '.slipway', 'machines', name);
        return {
          name: await docker(name, 'info', '--format', '{{.Name}}'),
          engine: await docker(name, 'info', '--format', '{{.ID}}'),
          ...(await readGuestSecrets(name)),
          ca: await readFile(join(machine, 'ca', 'ca-key.pem'), 'utf8'),
          client: await readFile(join(machine, 'tls', 'key.pem'), 'utf8'),
          login: await readFile(join(machine, 'ssh', 'id_ed25519'), 'utf8'),
        };
      }),
    );
    for (const key of Object.keys(all[0] ?? {}))
      expect(new Set(all.map((one) => one[key as keyof typeof one])).size, key).toBe(3);
    expect(all.map(({ name }) => name)).toEqual(['one', 'two', 'three']);
    for (const name of ['two', 'three'])
      expect((await expectSuccess(user.slipway('provision', name, '--dry-run'))).stdout.trim()).toBe(
        `${name}: nothing to do`,
      );
    await expectSuccess(user.slipway('rm', 'one', 'two', 'three'));
    expect(await listQemuPids(user)).toEqual([]);
  });

  test('a create that is killed at any moment is finished by the next one, or undone by rm', async () => {
    const moments = [0.25, 0.5, 0.8, 1.1, 1.5, 2];
    for (const [at, seconds] of moments.entries()) {
      await refillPool();
      const child = user.startWith({ SLIPWAY_QEMU_WARM: 'true' }, 'create', 'dev', ...small);
      await sleep(seconds * 1000);
      child.process.kill('SIGKILL');
      await child.ended;
      // The incomplete machine has the spare, or the spare still exists, never both.
      const [spareCount, vmCount] = [await countSpares(), (await listVms(user).catch(() => [])).length];
      expect(spareCount + vmCount, `after ${seconds} s`).toBeLessThanOrEqual(2);
      if (at % 2 === 0) {
        await expectSuccess(slipwayWithSpares('create', 'dev', ...small));
        expect(await docker('dev', 'info', '--format', '{{.Name}}')).toBe('dev');
        expect(await runInVmOrThrow(user, 'dev', 'hostname')).toBe('dev');
        expect(await listQemuPids(user)).toHaveLength(1);
      }
      if ((await user.slipway('ls', '--quiet')).stdout.trim() !== '') await expectSuccess(user.slipway('rm', 'dev'));
      expect(await listQemuPids(user)).toEqual([]);
      expect(await readdir(join(user.home, '.slipway', 'vms')).catch(() => [])).toEqual([]);
    }
  });

  test('create never uses a damaged spare: it starts cold, and says why', async () => {
    await refillPool();
    await rm(join(pool, 'copy-2'), { recursive: true });
    const memory = await open(join(pool, 'copy-1', 'memory'), 'r+');
    const { size } = await memory.stat();
    await memory.write(Buffer.from('damage'), 0, 6, Math.floor(size / 2));
    await memory.close();
    const { stderr } = await expectSuccess(slipwayWithSpares('create', 'dev', ...small));
    expect(stderr).toMatch(/The spare for "dev" can't be used, so it starts cold: .*memory/);
    await expectSuccess(user.slipway('image', 'prune'));
    expect(await docker('dev', 'info', '--format', '{{.Name}}')).toBe('dev');
    expect((await expectSuccess(user.slipway('provision', 'dev', '--dry-run'))).stdout.trim()).toBe(
      'dev: nothing to do',
    );
    expect(await listQemuPids(user)).toHaveLength(1);
  });
});

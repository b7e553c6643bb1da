import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { loadToolsImage } from './tools-image.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';
import { expectNothingLeft, readRecord, expectFailure, waitUntil } from './assertions.ts';

async function createMachineWithLifetime(
  ...flags: readonly string[]
): Promise<{ user: User; host: BedHost } & AsyncDisposable> {
  const [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
  await expectSuccess(user.slipway('create', 'web', ...hostFlags(host), ...flags));
  return {
    host,
    user,
    async [Symbol.asyncDispose]() {
      await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
    },
  };
}

describeOnBed('a machine with a lifetime', { timeout: 360_000 }, () => {
  test.concurrent('powers off at its extended deadline, not before, without a client', async () => {
    await using machine = await createMachineWithLifetime('--ttl', '60s');
    const { host, user } = machine;
    const first = Date.parse((await readRecord(user, 'web')).deadline ?? '');
    await expectSuccess(user.slipway('extend', 'web', '30s'));
    const last = Date.parse((await readRecord(user, 'web')).deadline ?? '');
    expect(last - first).toBe(30_000);
    expect((await expectSuccess(user.slipway('ls'))).stdout).toMatch(
      /ends in \d+ (s|min).*for more time: slipway extend web 2h/,
    );
    await sleep(last - Date.now() - 5000);
    expect(await host.isRunning()).toBe(true);
    await waitUntil('the host is off', async () => !(await host.isRunning()));
    expect((Date.now() - last) / 1000).toBeLessThan(30);

    const { stdout, code } = await user.slipway('status', 'web');
    expect(code).toBe(1);
    expect(stdout).toMatch(/State +ended\n/);
    expect(stdout).toMatch(/ended at its deadline 20\d\d-\d\d-\d\d \d\d:\d\d UTC/);
    expect(await expectFailure(user.slipway('extend', 'web', '1h'))).toMatchObject({
      status: 3,
      hint: 'Switch the host on yourself. Within ten minutes, run: slipway extend web 1h',
    });
    // The docker context stays until rm, which needs no consent here.
    expect((await expectSuccess(user.docker('context', 'ls', '--quiet'))).stdout).toContain('web');
    const removed = await expectSuccess(user.slipway('rm', 'web'));
    expect(removed.stdout).toContain('web is removed');
    expect(removed.stderr).toContain('still powers itself off ten minutes after each boot, since its timers');
    await expectNothingLeft(user);
  });

  test.concurrent('powers off once it is idle, but not while a container runs', async () => {
    await using machine = await createMachineWithLifetime('--idle-stop', '20s');
    const { host, user } = machine;
    await loadToolsImage(user, 'web');
    const run = ['run', '--detach', '--stop-signal', 'KILL', '--name', 'busy', 'tools', 'sleep', '100000'];
    await expectSuccess(user.docker('--context', 'web', ...run));
    await sleep(50_000);
    expect(await host.isRunning()).toBe(true);
    const stopped = Date.now();
    await expectSuccess(user.docker('--context', 'web', 'kill', 'busy'));
    await sleep(12_000);
    expect(await host.isRunning()).toBe(true);
    await waitUntil('the host is off', async () => !(await host.isRunning()));
    expect((Date.now() - stopped) / 1000).toBeLessThan(60);
  });
});

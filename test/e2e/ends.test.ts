import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { loadTools } from './engine.ts';
import { at, describeOnBed, newUser, ok, type User } from './slipway.ts';
import { expectNothingLeft, recordOf, trouble, until } from './trouble.ts';

async function made(...life: readonly string[]): Promise<{ user: User; host: BedHost } & AsyncDisposable> {
  const [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), newUser()]);
  await ok(user.slipway('create', 'web', ...at(host), ...life));
  return {
    host,
    user,
    async [Symbol.asyncDispose]() {
      await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
    },
  };
}

describeOnBed('a machine that ends with nobody there', { timeout: 360_000 }, () => {
  test.concurrent('at its deadline, and not before, nor at the one that was moved', async () => {
    await using all = await made('--ttl', '60s');
    const { host, user } = all;
    const first = Date.parse((await recordOf(user, 'web')).deadline ?? '');
    await ok(user.slipway('extend', 'web', '30s'));
    const last = Date.parse((await recordOf(user, 'web')).deadline ?? '');
    expect(last - first).toBe(30_000);
    expect((await ok(user.slipway('ls'))).stdout).toMatch(/ends in \d+ (s|min).*more time: slipway extend web 2h/);
    await sleep(last - Date.now() - 5000);
    expect(await host.isOn()).toBe(true);
    await until('the host is off', async () => !(await host.isOn()));
    expect((Date.now() - last) / 1000).toBeLessThan(30);

    const { stdout, code } = await user.slipway('status', 'web');
    expect(code).toBe(1);
    expect(stdout).toMatch(/State +ended\n/);
    expect(stdout).toMatch(/ended at its deadline 20\d\d-\d\d-\d\d \d\d:\d\d UTC/);
    expect(await trouble(user.slipway('extend', 'web', '1h'))).toMatchObject({
      status: 3,
      hint: 'Switch its host on by its own means; it then waits ten minutes for: slipway extend web 1h',
    });
    // The docker context stays until rm, which has nothing to ask.
    expect((await ok(user.docker('context', 'ls', '--quiet'))).stdout).toContain('web');
    const removed = await ok(user.slipway('rm', 'web'));
    expect(removed.stdout).toContain('web is removed');
    expect(removed.stderr).toContain('still powers itself off ten minutes after each boot, since its timers');
    await expectNothingLeft(user);
  });

  test.concurrent('once it is idle, which it is not as long as a container runs', async () => {
    await using all = await made('--idle-stop', '20s');
    const { host, user } = all;
    await loadTools(user, 'web');
    const run = ['run', '--detach', '--stop-signal', 'KILL', '--name', 'busy', 'tools', 'sleep', '100000'];
    await ok(user.docker('--context', 'web', ...run));
    await sleep(50_000);
    expect(await host.isOn()).toBe(true);
    const stopped = Date.now();
    await ok(user.docker('--context', 'web', 'kill', 'busy'));
    await sleep(12_000);
    expect(await host.isOn()).toBe(true);
    await until('the host is off', async () => !(await host.isOn()));
    expect((Date.now() - stopped) / 1000).toBeLessThan(60);
  });
});

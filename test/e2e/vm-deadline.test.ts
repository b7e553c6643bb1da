import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ok, type User } from './slipway.ts';
import { recordOf, trouble, until } from './trouble.ts';
import { describeOnVm, must, newVmUser, qemus, starts, VM_SECONDS } from './vm.ts';

const onHost = 'systemctl show --property TimersCalendar slipway-deadline.timer';
const calendar = (time: number): string => `${new Date(time).toISOString().slice(0, 19).replace('T', ' ')} UTC`;

describeOnVm('a local VM with a deadline', { timeout: VM_SECONDS * 1000 }, () => {
  let user: User;
  const deadline = async (): Promise<number> => Date.parse((await recordOf(user, 'dev')).deadline ?? '');

  beforeAll(async () => {
    user = await newVmUser();
  });
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  });

  test('holds it from its first boot on, without a visit', async () => {
    const { stderr } = await ok(user.slipway('create', 'dev', '--ttl', '10m', '--idle-stop', '8m'));
    expect(stderr).toMatch(/dev stops at .* UTC, or once it has been idle for 8m: its disk stays on this computer/);
    expect(await must(user, 'dev', 'systemctl is-active slipway-deadline.timer slipway-idle.timer')).toBe(
      'active\nactive',
    );
    expect(await must(user, 'dev', onHost)).toContain(calendar(await deadline()));
    // As the disk with its identity brought it, and no visit since.
    expect(await must(user, 'dev', 'stat -c %Y /etc/systemd/system/slipway-*.timer')).toBe('0\n0');
    expect((await ok(user.slipway('provision', 'dev', '--dry-run'))).stdout.trim()).toBe('dev: nothing to do');
    expect(await starts(user, 'dev')).toBe(1);
  });

  test('powers itself off at it, with no client there', async () => {
    await ok(user.slipway('provision', 'dev', '--ttl', '45s', '--idle-stop='));
    const end = await deadline();
    expect(await qemus(user)).toHaveLength(1);
    await sleep(Math.max(0, end - Date.now() - 2000));
    expect(await qemus(user)).toHaveLength(1);
    await until('the VM is off', async () => (await qemus(user)).length === 0);
    expect((Date.now() - end) / 1000).toBeLessThan(90);
    const { stdout, code } = await user.slipway('status', 'dev');
    expect(code).toBe(1);
    expect(stdout).toMatch(/State +stopped\n.*ended at its deadline/);
  });

  test('is not started to be ended again: it is given more time, and told at its start', async () => {
    expect(await trouble(user.slipway('start', 'dev'))).toMatchObject({
      status: 3,
      hint: expect.stringContaining('slipway extend dev 2h') as string,
    });
    expect((await ok(user.slipway('extend', 'dev', '2h'))).stdout).toContain(
      'told at its next start: slipway start dev',
    );
    await ok(user.slipway('start', 'dev'));
    expect(await must(user, 'dev', onHost)).toContain(calendar(await deadline()));
    expect(await starts(user, 'dev')).toBe(1);
    expect((await ok(user.slipway('ls'))).stdout).toMatch(/dev .*running.*ends in 1 h 5\d min/);
  });
});

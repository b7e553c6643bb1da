import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectSuccess, type User } from './test-user.ts';
import { readRecord, expectFailure, waitUntil } from './assertions.ts';
import {
  describeOnVm,
  runInVmOrThrow,
  createVmUser,
  listQemuPids,
  countVmEngineStarts,
  VM_TIMEOUT_SECONDS,
} from './vm-user.ts';

const SHOW_DEADLINE_TIMER = 'systemctl show --property TimersCalendar slipway-deadline.timer';
/** How long a guest may take from its deadline until it is off, even on a busy computer. */
const MAX_SHUTDOWN_SECONDS = 90;

const toSystemdCalendar = (time: number): string =>
  `${new Date(time).toISOString().slice(0, 19).replace('T', ' ')} UTC`;

describeOnVm('a local VM with a deadline', { timeout: VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  const readDeadline = async (): Promise<number> => Date.parse((await readRecord(user, 'dev')).deadline ?? '');

  beforeAll(async () => {
    user = await createVmUser();
  });
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  });

  test('has its timers from the first boot, without an SSH connection', async () => {
    const { stderr } = await expectSuccess(user.slipway('create', 'dev', '--ttl', '10m', '--idle-stop', '8m'));
    expect(stderr).toMatch(
      /Machine "dev" stops at .* UTC, or once it has been idle for 8m: its disk stays on this computer/,
    );
    expect(await runInVmOrThrow(user, 'dev', 'systemctl is-active slipway-deadline.timer slipway-idle.timer')).toBe(
      'active\nactive',
    );
    expect(await runInVmOrThrow(user, 'dev', SHOW_DEADLINE_TIMER)).toContain(toSystemdCalendar(await readDeadline()));
    // The seed, from which the VM boots, gives its files the time 0: nothing has written the timers over SSH since.
    expect(await runInVmOrThrow(user, 'dev', 'stat -c %Y /etc/systemd/system/slipway-*.timer')).toBe('0\n0');
    expect((await expectSuccess(user.slipway('provision', 'dev', '--dry-run'))).stdout.trim()).toBe(
      'dev: nothing to do',
    );
    expect(await countVmEngineStarts(user, 'dev')).toBe(1);
  });

  test('powers itself off at its deadline, without a client', async () => {
    await expectSuccess(user.slipway('provision', 'dev', '--ttl', '45s', '--idle-stop='));
    const deadline = await readDeadline();
    expect(await listQemuPids(user)).toHaveLength(1);
    await sleep(Math.max(0, deadline - Date.now() - 2000));
    expect(await listQemuPids(user)).toHaveLength(1);
    await waitUntil('the VM is off', async () => (await listQemuPids(user)).length === 0);
    expect((Date.now() - deadline) / 1000).toBeLessThan(MAX_SHUTDOWN_SECONDS);
    const { stdout, code } = await user.slipway('status', 'dev');
    expect(code).toBe(1);
    expect(stdout).toMatch(/State +stopped\n.*ended at its deadline/);
  });

  test("can't start after its deadline until its user extends it, and then has the new deadline", async () => {
    expect(await expectFailure(user.slipway('start', 'dev'))).toMatchObject({
      status: 3,
      hint: expect.stringContaining('slipway extend dev 2h') as string,
    });
    expect((await expectSuccess(user.slipway('extend', 'dev', '2h'))).stdout).toContain(
      'gets it at its next start: slipway start dev',
    );
    await expectSuccess(user.slipway('start', 'dev'));
    expect(await runInVmOrThrow(user, 'dev', SHOW_DEADLINE_TIMER)).toContain(toSystemdCalendar(await readDeadline()));
    expect(await countVmEngineStarts(user, 'dev')).toBe(1);
    expect((await expectSuccess(user.slipway('ls'))).stdout).toMatch(/dev .*running.*ends in 1 h 5\d min/);
  });
});

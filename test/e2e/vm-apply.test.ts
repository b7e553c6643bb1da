import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectSuccess, type User } from './test-user.ts';
import { describeOnVm, runInVmOrThrow, createVmUser, listQemuPids, VM_TIMEOUT_SECONDS } from './vm-user.ts';

describeOnVm('a local VM in machines.yaml', { timeout: VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  const apply = async (options: string): Promise<string> => {
    const file = join(user.home, 'machines.yaml');
    await writeFile(file, `machines: { dev: { driver: qemu, qemu: { ${options}, warm: false } } }\n`);
    return (await expectSuccess(user.slipway('apply', '-f', file))).stdout;
  };
  const readMemoryMegabytes = async (): Promise<number> =>
    Math.round(Number(await runInVmOrThrow(user, 'dev', `awk '/^MemTotal/ { print $2 }' /proc/meminfo`)) / 1024);
  const readDiskGigabytes = async (): Promise<number> =>
    Number(await runInVmOrThrow(user, 'dev', 'lsblk -bdno SIZE /dev/vda')) / 1024 ** 3;

  beforeAll(async () => {
    user = await createVmUser();
    expect(await apply('memory: 1024, disk: 10')).toMatch(/^dev is created: /);
  }, VM_TIMEOUT_SECONDS * 1000);
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  });

  test('gets more memory and a larger disk with one restart, and keeps the data on the disk', async () => {
    await runInVmOrThrow(user, 'dev', 'echo mine > kept; sync');
    const [before] = await listQemuPids(user);
    expect(await apply('memory: 1024, disk: 10')).toContain('1 machine matches');
    expect(await listQemuPids(user)).toEqual([before]);
    expect(await apply('memory: 1536, disk: 12')).toMatch(/^dev is changed: /);
    expect(await readMemoryMegabytes()).toBeGreaterThan(1300);
    expect([await readDiskGigabytes(), await runInVmOrThrow(user, 'dev', 'cat kept')]).toEqual([12, 'mine']);
  });

  test('stays stopped, and gets the change when it is started', async () => {
    await expectSuccess(user.slipway('stop', 'dev'));
    expect(await apply('memory: 1200, disk: 12')).toMatch(/^dev is changed/);
    expect(await listQemuPids(user)).toEqual([]);
    await expectSuccess(user.slipway('start', 'dev'));
    expect(await readMemoryMegabytes()).toBeLessThan(1250);
  });

  test('is not replaced for a smaller disk without --yes', async () => {
    const file = join(user.home, 'machines.yaml');
    await writeFile(file, 'machines: { dev: { driver: qemu, qemu: { memory: 1200, disk: 11, warm: false } } }\n');
    const refused = await user.slipway('apply', '-f', file);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('all data on its disk is lost')]);
    expect(await listQemuPids(user)).toHaveLength(1);
  });
});

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';
import { countEngineStarts, expectEngineAnswer, readRecord, waitForStderr, waitUntil } from './assertions.ts';

const NAMES = ['one', 'two', 'three'] as const;

/** Counts the connections that the host's SSH server has accepted so far, by its log. */
async function countLogins(host: BedHost): Promise<number> {
  return Number(
    await host.runOrThrow(`journalctl -q -o cat -t sshd -t sshd-session | grep -c '^Accepted publickey' || true`),
  );
}

/** Writes machines.yaml with one machine per host and these labels, and returns its path. */
async function writeMachinesFile(
  user: User,
  hosts: readonly (BedHost | string)[],
  labels: Record<string, string> = {},
): Promise<string> {
  const entries = hosts.map((host, at) => {
    const name = NAMES[at] ?? 'one';
    const address = typeof host === 'string' ? host : host.address;
    const label = labels[name] === undefined ? '' : `, engine: { label: [${labels[name]}] }`;
    return `  ${name}: { generic: { ipAddress: ${address} }${label} }`;
  });
  const [first] = hosts.filter((host) => typeof host !== 'string');
  const path = join(user.home, 'machines.yaml');
  const defaults = `defaults:\n  driver: generic\n  generic: { sshKey: ${first?.keyFile} }\nmachines:\n`;
  await writeFile(path, `${defaults}${entries.join('\n')}\n`);
  return path;
}

describeOnBed('machines.yaml with three hosts', () => {
  let hosts: readonly BedHost[] = [];
  beforeAll(async () => {
    hosts = await Promise.all(NAMES.map(() => startHost({ suite: 'trixie', engine: true })));
  });
  afterAll(async () => {
    for (const host of hosts) await host[Symbol.asyncDispose]();
  });
  const readEngineStarts = (): Promise<readonly string[]> =>
    Promise.all(hosts.map(async (host) => String(await countEngineStarts(host))));
  const readLogins = (): Promise<readonly number[]> => Promise.all(hosts.map(countLogins));

  test('is applied, applied again without a connection, changed where a label differs, continued after a kill, and pruned', async () => {
    await using user = await createUser();
    const path = await writeMachinesFile(user, hosts, { one: 'zone=a' });
    const apply = async (...more: readonly string[]): Promise<string> =>
      (await expectSuccess(user.slipway('apply', '-f', path, ...more))).stdout;

    expect(await apply()).toMatch(/^one is created: tcp:.*\ntwo is created: .*\nthree is created: .*\n$/);
    for (const name of NAMES) await expectEngineAnswer(user, name);

    // The second apply makes no connection and writes nothing.
    const [loginsBefore, startsBefore] = [await readLogins(), await readEngineStarts()];
    expect(loginsBefore.every((count) => count > 0)).toBe(true);
    const records = await Promise.all(NAMES.map((name) => readRecord(user, name)));
    expect(await apply()).toBe(`3 machines match ${path}\n`);
    expect(await readLogins()).toEqual(loginsBefore);
    expect(await Promise.all(NAMES.map((name) => readRecord(user, name)))).toEqual(records);

    // One label changes.
    await writeMachinesFile(user, hosts, { one: 'zone=b' });
    expect((await expectSuccess(user.slipway('plan', '-f', path))).stdout).toBe(
      [
        `${path}: planned changes`,
        '  ~ change   one  generic',
        '      engine.label: zone=a -> zone=b  (restarts the engine)',
        `2 machines match ${path}`,
        '',
      ].join('\n'),
    );
    expect(await apply()).toMatch(/^one is changed: tcp:[^\n]*\n$/);
    const [one = 0, two = 0, three = 0] = loginsBefore;
    expect(await readLogins()).toEqual([one + 1, two, three]);
    const [first, second, third] = await readEngineStarts();
    expect([first === startsBefore[0], second, third]).toEqual([false, startsBefore[1], startsBefore[2]]);
    expect((await expectSuccess(user.docker('--context', 'one', 'info', '--format', '{{.Labels}}'))).stdout).toContain(
      'zone=b',
    );

    // Kill the command while it changes all three.
    await writeMachinesFile(user, hosts, { one: 'zone=c', two: 'zone=c', three: 'zone=c' });
    const killed = user.start('apply', '-f', path, '--concurrency', '1');
    await waitForStderr(killed, /two: .*Gather facts about the host/);
    killed.process.kill('SIGKILL');
    await killed.ended;
    await apply();
    for (const name of NAMES)
      expect((await expectSuccess(user.docker('--context', name, 'info', '--format', '{{.Labels}}'))).stdout).toContain(
        'zone=c',
      );
    expect(await apply()).toBe(`3 machines match ${path}\n`);

    // A machine that left the file is removed only with --prune, and its host stays.
    await writeMachinesFile(user, hosts.slice(0, 2), { one: 'zone=c', two: 'zone=c' });
    expect(await apply()).toBe(`2 machines match ${path}\n`);
    expect((await user.slipway('apply', '-f', path, '--prune')).code).toBe(2);
    expect(await apply('--prune', '--yes')).toBe('three is removed\n');
    expect((await expectSuccess(user.slipway('ls', '-q'))).stdout).toBe('one\ntwo\n');
    expect(await hosts[2]?.runOrThrow('systemctl is-active docker')).toBe('active');
  });

  test('applies to the other hosts when one fails, and finishes once that one is fixed', async () => {
    await using user = await createUser();
    const [one, two, three] = hosts;
    if (!one || !two || !three) throw new Error('there are three hosts');
    await two.runOrThrow('systemctl mask --now ssh.service ssh.socket');
    const path = await writeMachinesFile(user, hosts);
    const failed = await user.slipway('apply', '-f', path);
    await two.runOrThrow('systemctl unmask ssh.service ssh.socket && systemctl start ssh.service');
    expect(failed.code).toBe(6);
    expect(failed.stdout).toMatch(
      /^one is created: .*\nthree is created: .*\n1 of 3 machines failed\nTo continue, run the same command again\n$/,
    );
    expect(failed.stderr).toContain(`two: ✗ `);
    await waitUntil('the host is back', async () => (await two.exec('ss -ltn | grep -q :22')).code === 0);
    expect((await expectSuccess(user.slipway('apply', '-f', path))).stdout).toMatch(/^two is complete: tcp:[^\n]*\n$/);
  });

  test('is finished by the next apply after a kill', async () => {
    await using user = await createUser();
    const path = await writeMachinesFile(user, hosts);
    const killed = user.start('apply', '-f', path, '--concurrency', '2');
    await waitForStderr(killed, /two: .*Gather facts about the host/);
    killed.process.kill('SIGKILL');
    await killed.ended;
    const secondApply = await expectSuccess(user.slipway('apply', '-f', path));
    expect(secondApply.stdout).toMatch(/three is created/);
    for (const name of NAMES) await expectEngineAnswer(user, name);
    expect((await expectSuccess(user.slipway('apply', '-f', path))).stdout).toBe(`3 machines match ${path}\n`);
  });
});

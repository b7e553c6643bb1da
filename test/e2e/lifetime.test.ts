import { afterAll, beforeAll, expect, test } from 'vitest';
import { stopTimersCommand } from '../../src/provision/lifetime-timers.ts';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { readEnginePid, countLogins, snapshotFiles } from './inspect-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';
import { hasTmux, openTerminal } from './terminal.ts';
import { countEngineStarts, readRecord, expectFailure } from './assertions.ts';

const managedFolders = ['/etc/docker', '/etc/systemd/system', '/usr/local/lib', '/run/slipway'] as const;
const HOUR_MS = 3_600_000;

describeOnBed('the lifetime of a machine', () => {
  let host: BedHost;
  let user: User;
  /** The number of engine starts and the engine's PID, which no test may change. */
  let engineBefore: readonly number[];
  const readEngineState = async (): Promise<readonly number[]> => [
    await countEngineStarts(host),
    await readEnginePid(host),
  ];
  const readDeadline = async (): Promise<number> => Date.parse((await readRecord(user, 'web')).deadline ?? '');
  /** Returns the time at which systemd will power the host off. */
  const readHostTimer = async (): Promise<string> =>
    host.runOrThrow('systemctl show --property TimersCalendar slipway-deadline.timer');
  const listTimers = async (): Promise<string> =>
    host.runOrThrow('systemctl list-units --no-legend --plain --type timer "slipway-*" | tr -s " " | cut -d" " -f1,3');
  const toSystemdCalendar = (time: number): string =>
    `${new Date(time).toISOString().slice(0, 19).replace('T', ' ')} UTC`;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('is announced before anything is created, and installed on the host', async () => {
    const askedAt = Date.now();
    const { stderr } = await expectSuccess(
      user.slipway('create', 'web', ...hostFlags(host), '--ttl', '4h', '--idle-stop', '2h'),
    );
    const notePosition = stderr.indexOf('or once it has been idle for 2h: the host');
    expect(notePosition).toBeGreaterThan(-1);
    expect(notePosition).toBeLessThan(stderr.indexOf('Connect to'));
    expect((await readDeadline()) - askedAt).toBeGreaterThanOrEqual(4 * HOUR_MS);
    expect((await readDeadline()) - askedAt).toBeLessThan(4 * HOUR_MS + 60_000);
    expect(await listTimers()).toBe('slipway-deadline.timer active\nslipway-idle.timer active');
    expect(await readHostTimer()).toContain(toSystemdCalendar(await readDeadline()));
    engineBefore = await readEngineState();
  });

  test('leaves nothing to do for a second provision', async () => {
    const files = await snapshotFiles(host, ...managedFolders);
    expect((await expectSuccess(user.slipway('provision', 'web', '--dry-run'))).stdout.trim()).toBe(
      'web: nothing to do',
    );
    await expectSuccess(user.slipway('provision', 'web'));
    // The idle check records what it saw.
    const withoutIdleCheck = (lines: readonly string[]): readonly string[] =>
      lines.filter((line) => !line.includes('/run/slipway'));
    expect(withoutIdleCheck(await snapshotFiles(host, ...managedFolders))).toEqual(withoutIdleCheck(files));
    expect(await readEngineState()).toEqual(engineBefore);
  });

  test('is shown by ls and status', async () => {
    const listed = await expectSuccess(user.slipway('ls'));
    expect(listed.stdout).toMatch(/DEADLINE/);
    expect(listed.stdout).toMatch(/web .*ends in 3 h 5\d min/);
    const { stdout } = await expectSuccess(user.slipway('status', 'web'));
    expect(stdout).toMatch(/Deadline +20\d\d-\d\d-\d\d \d\d:\d\d UTC, ends in 3 h 5\d min/);
    expect(stdout).toMatch(/Idle stop +after 2h without activity/);
    const page = JSON.parse((await expectSuccess(user.slipway('status', 'web', '--json'))).stdout) as Record<
      string,
      unknown
    >;
    expect(Date.parse(String(page.deadline))).toBe(await readDeadline());
    expect(page).toMatchObject({ idleStop: '2h', containers: { running: 0, total: 0 }, unasked: [] });
  });

  test.skipIf(!hasTmux)('is refreshed in place in a terminal, also when it is resized, until Ctrl-C', async () => {
    await using terminal = await openTerminal(user, { columns: 120, rows: 20 });
    await terminal.typeLine('slipway ls --watch --interval 1; echo "ended with $?"');
    const wide = await terminal.waitFor(/web .*ends in 3 h 5\d min/);
    expect(await terminal.hasCursor()).toBe(false);
    const clock = /Every 1 s: .* UTC/;
    const firstTime = clock.exec(wide)?.[0];
    await expect
      .poll(async () => clock.exec(await terminal.readScreen())?.[0], { timeout: 30_000 })
      .not.toBe(firstTime);
    await terminal.resize({ columns: 50, rows: 20 });
    await terminal.waitFor(/^web .*…$/m);
    await terminal.resize({ columns: 120, rows: 20 });
    const resized = await terminal.waitFor(/web .*ends in 3 h 5\d min/);
    expect(resized.match(/^web /gm)).toHaveLength(1);
    await terminal.pressKeys('C-c');
    await terminal.waitFor('ended with 0');
    expect(await terminal.hasCursor()).toBe(true);
  });

  test('is printed as one document per line for a program', async () => {
    const watching = user.start('ls', '--watch', '--interval', '1', '--json');
    let out = '';
    await new Promise<void>((resolve) => {
      watching.process.stdout?.on('data', (text: Buffer) => {
        out += text.toString();
        if (out.split('\n').length > 2) resolve();
      });
    });
    watching.process.kill('SIGINT');
    expect((await watching.ended).code).toBe(0);
    const documents = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { name: string }[]);
    expect(documents.map(([row]) => row?.name)).toEqual(documents.map(() => 'web'));
  });

  test('is extended over one connection without touching the engine', async () => {
    const from = await readDeadline();
    const loginsBefore = await countLogins(host);
    const { stdout } = await expectSuccess(user.slipway('extend', 'web', '2h', '--json'));
    expect((await countLogins(host)) - loginsBefore).toBe(1);
    expect(await readDeadline()).toBe(from + 2 * HOUR_MS);
    expect(await readHostTimer()).toContain(toSystemdCalendar(from + 2 * HOUR_MS));
    expect(await readHostTimer()).not.toContain(toSystemdCalendar(from));
    expect(JSON.parse(stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({
      result: [{ name: 'web', deadline: new Date(from + 2 * HOUR_MS).toISOString(), told: true }],
    });
    expect(await readEngineState()).toEqual(engineBefore);
    expect((await expectSuccess(user.slipway('provision', 'web', '--dry-run'))).stdout.trim()).toBe(
      'web: nothing to do',
    );
  });

  test('starts now when another time is given, and follows a change of the idle time', async () => {
    const askedAt = Date.now();
    await expectSuccess(user.slipway('provision', 'web', '--ttl', '4h', '--idle-stop', '1h'));
    expect((await readDeadline()) - askedAt).toBeLessThan(4 * HOUR_MS + 60_000);
    expect(await host.runOrThrow('systemctl show --property ExecStart --value slipway-idle.service')).toContain(
      ' 3600 2376 web',
    );
    await expectSuccess(user.slipway('provision', 'web', '--idle-stop='));
    expect(await listTimers()).toBe('slipway-deadline.timer active');
    expect(await host.runOrThrow('ls /usr/local/lib/slipway')).toBe('deadline.sh');
    expect(await readEngineState()).toEqual(engineBefore);
  });

  test('never ends after its deadline was removed', async () => {
    expect((await expectSuccess(user.slipway('extend', 'web', 'never'))).stdout.trim()).toBe('web has no deadline');
    expect((await readRecord(user, 'web')).deadline).toBeUndefined();
    expect((await readRecord(user, 'web')).spec.life).toBeUndefined();
    expect(await listTimers()).toBe('');
    expect(await host.runOrThrow('ls -d /usr/local/lib/slipway /etc/systemd/system/*slipway* 2>/dev/null || :')).toBe(
      '',
    );
    expect((await expectSuccess(user.slipway('ls'))).stdout).not.toMatch(/DEADLINE/);
    expect(await readEngineState()).toEqual(engineBefore);
  });

  test('is refused with an explanation where it is not supported', async () => {
    expect(await expectFailure(user.slipway('extend', 'web'))).toMatchObject({
      status: 2,
      sentence: '"web" is not a valid time',
    });
    expect(await expectFailure(user.slipway('extend', 'web', 'soon'))).toMatchObject({ status: 2 });
    expect(await expectFailure(user.slipway('extend', 'nobody', '2h'))).toMatchObject({ status: 3 });
    const socket = ['--none-url', 'unix:///var/run/docker.sock'];
    expect(await expectFailure(user.slipway('create', 'mine', ...socket, '--ttl', '1h'))).toMatchObject({
      status: 4,
      sentence: expect.stringContaining("can't end or stop by itself") as string,
    });
  });

  test('is removed from the host by rm --deprovision with everything else', async () => {
    await expectSuccess(user.slipway('extend', 'web', '1h'));
    await expectSuccess(user.slipway('provision', 'web', '--idle-stop', '30m'));
    expect(await listTimers()).not.toBe('');
    await expectSuccess(user.slipway('rm', 'web', '--deprovision'));
    expect(await listTimers()).toBe('');
    expect(
      await host.runOrThrow('ls -d /usr/local/lib/slipway /etc/systemd/system/timers.target.d 2>/dev/null || :'),
    ).toBe('');
  });

  test('is removed from a host that stays by rm, or by the command that rm prints if it cannot reach the host', async () => {
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host), '--ttl', '4h', '--idle-stop', '2h'));
    const running = await readEnginePid(host);
    const { ssh } = (await readRecord(user, 'web')).host ?? {};
    const command = /^ssh .*"(.*)"$/.exec(ssh ? stopTimersCommand(ssh) : '')?.[1] ?? 'false';
    await host.runOrThrow(command);
    expect(await listTimers()).toBe('');
    await host.runOrThrow('systemctl daemon-reload && systemctl restart timers.target');
    expect(await listTimers(), 'as after a boot').toBe('');
    await expectSuccess(user.slipway('provision', 'web'));
    expect(await listTimers()).toBe('slipway-deadline.timer active\nslipway-idle.timer active');
    await expectSuccess(user.slipway('rm', 'web'));
    expect(await listTimers()).toBe('');
    expect(
      await host.runOrThrow('ls -d /usr/local/lib/slipway /etc/systemd/system/timers.target.d 2>/dev/null || :'),
    ).toBe('');
    expect(await readEnginePid(host)).toBe(running);
  });
});

import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { idleCheckSeconds } from '../../src/provision/idle-check.ts';
import { systemd } from '../../src/provision/init/systemd.ts';
import { readLifetimeScripts } from '../../src/provision/lifetime-timers.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { runProgram } from '../fakes/run-program.ts';

const readTemplate = (name: string): Promise<string> =>
  readFile(new URL(`../../templates/${name}`, import.meta.url), 'utf8');
/** The scripts as installed on a host. */
const scripts = await readLifetimeScripts(systemd, readTemplate);

type FakeProcess = { readonly comm: string; readonly title?: string };

/**
 * Creates a host made of files: processes, a table of connections, a clock, and a systemctl that only records its
 * arguments.
 */
async function createFakeHost() {
  const folder = await createTemporaryFolder();
  const proc = join(folder.path, 'proc');
  const state = join(folder.path, 'run');
  const bin = join(folder.path, 'bin');
  const callLog = join(folder.path, 'calls');
  const sessions = join(folder.path, 'sessions');
  await mkdir(join(proc, 'net'), { recursive: true });
  await mkdir(sessions);
  await mkdir(bin);
  await writeFile(join(bin, 'systemctl'), `#!/bin/sh\necho "$*" >>'${callLog}'\n`);
  await writeFile(join(bin, 'wall'), `#!/bin/sh\necho "wall: $*" >>'${callLog}'\n`);
  for (const program of ['systemctl', 'wall']) await chmod(join(bin, program), 0o755);
  let pid = 1;
  let lastCheck: number | undefined;
  const env = { PATH: `${bin}:${process.env.PATH}`, PROC: proc, RUN: state, SESSIONS: sessions };
  async function runCheck(second: number, idle: number): Promise<boolean> {
    lastCheck = second;
    await writeFile(join(proc, 'uptime'), `${second}.52 99.10\n`);
    const argv = [String(idle), '2376', 'web', String(idleCheckSeconds(idle))];
    const { code, stderr } = await runProgram('sh', ['-c', scripts.idle, 'idle.sh', ...argv], { env });
    expect([code, stderr]).toEqual([0, '']);
    const calls = await readFile(callLog, 'utf8').catch(() => '');
    return /^poweroff$/m.test(calls);
  }
  return {
    async addProcess({ comm, title = comm }: FakeProcess): Promise<void> {
      pid += 1;
      await mkdir(join(proc, String(pid)), { recursive: true });
      await writeFile(join(proc, String(pid), 'comm'), `${comm}\n`);
      await writeFile(join(proc, String(pid), 'cmdline'), `${title}\0`);
    },
    async setConnections(...lines: readonly string[]): Promise<void> {
      const head = '  sl  local_address rem_address   st tx_queue rx_queue\n';
      await writeFile(join(proc, 'net', 'tcp'), head + lines.map((line, at) => `   ${at}: ${line}\n`).join(''));
      await writeFile(join(proc, 'net', 'tcp6'), head);
    },
    /** Writes the kernel's table of Unix sockets with only these lines. */
    async setSockets(...lines: readonly string[]): Promise<void> {
      const head = 'Num       RefCount Protocol Flags    Type St Inode Path\n';
      await writeFile(join(proc, 'net', 'unix'), head + lines.map((line) => `${line}\n`).join(''));
    },
    async setSession(...lines: readonly string[]): Promise<void> {
      await writeFile(join(sessions, '7'), `# This is private data. Do not parse.\n${lines.join('\n')}\n`);
    },
    /** Runs all checks up to this second of the host's uptime. Returns whether one of them powers the host off. */
    async check(second: number, idle = 100): Promise<boolean> {
      const interval = idleCheckSeconds(idle);
      while (lastCheck !== undefined && second - lastCheck > interval) {
        if (await runCheck(lastCheck + interval, idle)) return true;
      }
      return await runCheck(second, idle);
    },
    /** Runs the first check after a period without checks. */
    checkAfterResume: async (second: number, idle = 100): Promise<boolean> => runCheck(second, idle),
    /** Runs deadline.sh this many seconds before its deadline. Returns all recorded calls. */
    async checkDeadline(secondsLeft: number): Promise<string> {
      const at = Math.ceil(Date.now() / 1000) + secondsLeft;
      const { code, stderr } = await runProgram('sh', ['-c', scripts.deadline, 'deadline.sh', String(at), 'web'], {
        env,
      });
      expect([code, stderr]).toEqual([0, '']);
      return await readFile(callLog, 'utf8').catch(() => '');
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** A line of /proc/net/unix as Linux prints it, padded with spaces. */
const DOCKER_SOCKET_LINE = 'ffff9d5c4a3f1c00: 00000003 00000000 00000000 0001 03 47312 /run/docker.sock';
const ENGINE_CONNECTION_LINE = '0100007F:0948 0100007F:C350 01 00000000:00000000';

type Activity = Partial<FakeProcess> & {
  readonly connection?: string;
  readonly socket?: string;
  readonly session?: readonly string[];
};

async function setActivity(
  host: Awaited<ReturnType<typeof createFakeHost>>,
  { comm, title, connection, socket, session }: Activity,
) {
  await host.setConnections(...(connection === undefined ? [] : [connection]));
  await host.setSockets(...(socket === undefined ? [] : [socket]));
  if (session) await host.setSession(...session);
  if (comm !== undefined) await host.addProcess({ comm, ...(title === undefined ? {} : { title }) });
}

describe('idle.sh', () => {
  test('counts from the boot, and powers the host off when the period is over, not before', async () => {
    await using host = await createFakeHost();
    await host.setConnections();
    expect(await host.check(1000)).toBe(false);
    expect(await host.check(1099)).toBe(false);
    expect(await host.check(1100)).toBe(true);
  });

  const activities: readonly ({ readonly sign: string } & Activity)[] = [
    { sign: 'a running container', comm: 'containerd-shim' },
    { sign: 'a build step', comm: 'runc' },
    { sign: 'a build step that is starting', comm: 'runc:[2:INIT]' },
    { sign: 'a client of the engine on the host', socket: DOCKER_SOCKET_LINE },
    {
      sign: 'a client that uses the old path of the socket',
      socket: DOCKER_SOCKET_LINE.replace('47312 /run', '  123 /var/run'),
    },
    { sign: 'a login at the console', session: ['UID=0', 'STATE=active', 'CLASS=user', 'TTY=tty1'] },
    { sign: 'a login of root with a newer systemd', session: ['STATE=online', 'CLASS=user-early'] },
    { sign: 'a connection to the engine', connection: ENGINE_CONNECTION_LINE },
    { sign: 'a login as root', comm: 'sshd', title: 'sshd: root@notty' },
    { sign: 'a login of a newer OpenSSH', comm: 'sshd-session', title: 'sshd-session: deploy@pts/0' },
    { sign: 'a login that only forwards ports', comm: 'sshd', title: 'sshd: deploy' },
  ];
  test.each(activities)('does not power off a host with $sign', async (activity) => {
    await using host = await createFakeHost();
    await setActivity(host, activity);
    for (const second of [1000, 1099, 1100, 1300]) expect(await host.check(second), String(second)).toBe(false);
    // The period starts again after the last activity.
    await using after = await createFakeHost();
    await after.setConnections(ENGINE_CONNECTION_LINE);
    await after.check(1000);
    await after.check(1090);
    await after.setConnections();
    expect(await after.check(1189)).toBe(false);
    expect(await after.check(1190)).toBe(true);
  });

  test.skipIf(process.platform !== 'linux')('reads sockets in the format that the kernel prints', async () => {
    await using host = await createFakeHost();
    await setActivity(host, {});
    await using folder = await createTemporaryFolder();
    const path = join(folder.path, 'docker.sock');
    const table = async (): Promise<readonly string[]> =>
      (await readFile('/proc/net/unix', 'utf8')).split('\n').filter((line) => line.endsWith(path));
    const server = createServer().listen(path);
    await once(server, 'listening');
    const client = connect(path);
    await Promise.all([once(client, 'connect'), once(server, 'connection')]);
    await host.setSockets(...(await table()));
    await host.check(1000);
    expect(await host.check(1100)).toBe(false);
    client.destroy();
    await expect.poll(async () => (await table()).length).toBe(1);
    await host.setSockets(...(await table()));
    expect(await host.check(1199)).toBe(false);
    expect(await host.check(1200)).toBe(true);
    server.close();
  });

  test('counts a resume as activity, but not one late check', async () => {
    await using host = await createFakeHost();
    await setActivity(host, {});
    expect(await host.check(1000)).toBe(false);
    expect(await host.check(1050)).toBe(false);
    expect(await host.checkAfterResume(9000)).toBe(false);
    expect(await host.check(9099)).toBe(false);
    expect(await host.check(9100)).toBe(true);
    await using late = await createFakeHost();
    await setActivity(late, {});
    await late.check(1000);
    expect(await late.check(1050)).toBe(false);
    expect(await late.checkAfterResume(1125)).toBe(true);
  });

  const ignoredActivities: readonly ({ readonly what: string } & Activity)[] = [
    { what: 'its SSH server', comm: 'sshd', title: 'sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups' },
    { what: 'a connection that does not log in', comm: 'sshd', title: 'sshd: unknown [priv]' },
    { what: 'a connection that tries passwords', comm: 'sshd-session', title: 'sshd-session: root [net]' },
    { what: 'its engine', comm: 'dockerd' },
    { what: "the engine's open port", connection: '00000000:0948 00000000:0000 0A 00000000:00000000' },
    { what: 'a closed connection', connection: '0100007F:0948 0100007F:C350 06 00000000:00000000' },
    { what: 'a connection to another port', connection: '0100007F:0016 0100007F:C350 01 00000000:00000000' },
    { what: "the engine's own socket", socket: DOCKER_SOCKET_LINE.replace('0001 03', '0001 01') },
    { what: 'a connection to another socket', socket: DOCKER_SOCKET_LINE.replace('docker.sock', 'systemd/private') },
    { what: 'a session that is closing', session: ['STATE=closing', 'CLASS=user'] },
    { what: "the manager of a user's units", session: ['STATE=active', 'CLASS=manager'] },
    { what: 'a login prompt', session: ['STATE=active', 'CLASS=greeter'] },
    { what: 'a cron job', session: ['STATE=active', 'CLASS=background'] },
  ];
  test.each(ignoredActivities)('powers off a host with only $what', async (activity) => {
    await using host = await createFakeHost();
    await setActivity(host, activity);
    expect(await host.check(1000)).toBe(false);
    expect(await host.check(1100)).toBe(true);
  });
});

describe('deadline.sh', () => {
  test('powers the host off at the deadline, and only warns before', async () => {
    await using host = await createFakeHost();
    expect(await host.checkDeadline(7200)).toBe('');
    const warning =
      'wall: Slipway: this machine, web, powers off in 5 min. To extend its deadline: slipway extend web 2h\n';
    expect(await host.checkDeadline(300)).toBe(warning);
    expect(await host.checkDeadline(-1)).toBe(
      `${warning}wall: Slipway: this machine, web, powers off now: its deadline has passed\npoweroff\n`,
    );
  });
});

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
/** The scripts as they stay on a host. */
const scripts = await readLifetimeScripts(systemd, readTemplate);

type FakeProcess = { readonly comm: string; readonly title?: string };

/** A host made of files: its processes, its table of connections, its clock, and a systemctl that only notes what it is told. */
async function createFakeHost() {
  const folder = await createTemporaryFolder();
  const proc = join(folder.path, 'proc');
  const state = join(folder.path, 'run');
  const bin = join(folder.path, 'bin');
  const told = join(folder.path, 'told');
  const sessions = join(folder.path, 'sessions');
  await mkdir(join(proc, 'net'), { recursive: true });
  await mkdir(sessions);
  await mkdir(bin);
  await writeFile(join(bin, 'systemctl'), `#!/bin/sh\necho "$*" >>'${told}'\n`);
  await writeFile(join(bin, 'wall'), `#!/bin/sh\necho "wall: $*" >>'${told}'\n`);
  for (const program of ['systemctl', 'wall']) await chmod(join(bin, program), 0o755);
  let pid = 1;
  let looked: number | undefined;
  const env = { PATH: `${bin}:${process.env.PATH}`, PROC: proc, RUN: state, SESSIONS: sessions };
  async function look(second: number, idle: number): Promise<boolean> {
    looked = second;
    await writeFile(join(proc, 'uptime'), `${second}.52 99.10\n`);
    const words = [String(idle), '2376', 'web', String(idleCheckSeconds(idle))];
    const { code, stderr } = await runProgram('sh', ['-c', scripts.idle, 'idle.sh', ...words], { env });
    expect([code, stderr]).toEqual([0, '']);
    const said = await readFile(told, 'utf8').catch(() => '');
    return /^poweroff$/m.test(said);
  }
  return {
    async runs({ comm, title = comm }: FakeProcess): Promise<void> {
      pid += 1;
      await mkdir(join(proc, String(pid)), { recursive: true });
      await writeFile(join(proc, String(pid), 'comm'), `${comm}\n`);
      await writeFile(join(proc, String(pid), 'cmdline'), `${title}\0`);
    },
    async connections(...lines: readonly string[]): Promise<void> {
      const head = '  sl  local_address rem_address   st tx_queue rx_queue\n';
      await writeFile(join(proc, 'net', 'tcp'), head + lines.map((line, at) => `   ${at}: ${line}\n`).join(''));
      await writeFile(join(proc, 'net', 'tcp6'), head);
    },
    /** The kernel's table of Unix sockets, of these lines alone. */
    async sockets(...lines: readonly string[]): Promise<void> {
      const head = 'Num       RefCount Protocol Flags    Type St Inode Path\n';
      await writeFile(join(proc, 'net', 'unix'), head + lines.map((line) => `${line}\n`).join(''));
    },
    async session(...lines: readonly string[]): Promise<void> {
      await writeFile(join(sessions, '7'), `# This is private data. Do not parse.\n${lines.join('\n')}\n`);
    },
    /** The checks up to this second of the host's uptime; true when one powers the host off. */
    async check(second: number, idle = 100): Promise<boolean> {
      const every = idleCheckSeconds(idle);
      while (looked !== undefined && second - looked > every) {
        if (await look(looked + every, idle)) return true;
      }
      return await look(second, idle);
    },
    /** The first check after a time in which there was none. */
    wakes: async (second: number, idle = 100): Promise<boolean> => look(second, idle),
    /** deadline.sh, so many seconds before its deadline. */
    async deadline(left: number): Promise<string> {
      const at = Math.ceil(Date.now() / 1000) + left;
      const { code, stderr } = await runProgram('sh', ['-c', scripts.deadline, 'deadline.sh', String(at), 'web'], {
        env,
      });
      expect([code, stderr]).toEqual([0, '']);
      return await readFile(told, 'utf8').catch(() => '');
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** As Linux prints it, its columns filled with spaces. */
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
  await host.connections(...(connection === undefined ? [] : [connection]));
  await host.sockets(...(socket === undefined ? [] : [socket]));
  if (session) await host.session(...session);
  if (comm !== undefined) await host.runs({ comm, ...(title === undefined ? {} : { title }) });
}

describe('idle.sh', () => {
  test('counts from the boot, and powers the host off when the period is over, not before', async () => {
    await using host = await createFakeHost();
    await host.connections();
    expect(await host.check(1000)).toBe(false);
    expect(await host.check(1099)).toBe(false);
    expect(await host.check(1100)).toBe(true);
  });

  const signs: readonly ({ readonly sign: string } & Activity)[] = [
    { sign: 'a running container', comm: 'containerd-shim' },
    { sign: 'a step of a build', comm: 'runc' },
    { sign: 'a step of a build that begins', comm: 'runc:[2:INIT]' },
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
    { sign: 'a login that forwards ports alone', comm: 'sshd', title: 'sshd: deploy' },
  ];
  test.each(signs)('does not power off a host with $sign', async (seen) => {
    await using host = await createFakeHost();
    await setActivity(host, seen);
    for (const second of [1000, 1099, 1100, 1300]) expect(await host.check(second), String(second)).toBe(false);
    // From the last sign on it counts anew.
    await using after = await createFakeHost();
    await after.connections(ENGINE_CONNECTION_LINE);
    await after.check(1000);
    await after.check(1090);
    await after.connections();
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
    await host.sockets(...(await table()));
    await host.check(1000);
    expect(await host.check(1100)).toBe(false);
    client.destroy();
    await expect.poll(async () => (await table()).length).toBe(1);
    await host.sockets(...(await table()));
    expect(await host.check(1199)).toBe(false);
    expect(await host.check(1200)).toBe(true);
    server.close();
  });

  test('counts a resume as activity, and one late check not', async () => {
    await using host = await createFakeHost();
    await setActivity(host, {});
    expect(await host.check(1000)).toBe(false);
    expect(await host.check(1050)).toBe(false);
    expect(await host.wakes(9000)).toBe(false);
    expect(await host.check(9099)).toBe(false);
    expect(await host.check(9100)).toBe(true);
    await using late = await createFakeHost();
    await setActivity(late, {});
    await late.check(1000);
    expect(await late.check(1050)).toBe(false);
    expect(await late.wakes(1125)).toBe(true);
  });

  const noise: readonly ({ readonly what: string } & Activity)[] = [
    { what: 'its SSH server', comm: 'sshd', title: 'sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups' },
    { what: 'a connection that does not log in', comm: 'sshd', title: 'sshd: unknown [priv]' },
    { what: 'a connection that tries passwords', comm: 'sshd-session', title: 'sshd-session: root [net]' },
    { what: 'its engine', comm: 'dockerd' },
    { what: "the engine's open port", connection: '00000000:0948 00000000:0000 0A 00000000:00000000' },
    { what: 'a connection that is over', connection: '0100007F:0948 0100007F:C350 06 00000000:00000000' },
    { what: 'a connection to another port', connection: '0100007F:0016 0100007F:C350 01 00000000:00000000' },
    { what: "the engine's own socket", socket: DOCKER_SOCKET_LINE.replace('0001 03', '0001 01') },
    { what: 'a connection to another socket', socket: DOCKER_SOCKET_LINE.replace('docker.sock', 'systemd/private') },
    { what: 'a session that is closing', session: ['STATE=closing', 'CLASS=user'] },
    { what: "the manager of a user's units", session: ['STATE=active', 'CLASS=manager'] },
    { what: 'a prompt to log in', session: ['STATE=active', 'CLASS=greeter'] },
    { what: 'what cron runs', session: ['STATE=active', 'CLASS=background'] },
  ];
  test.each(noise)('powers off a host in spite of $what', async (seen) => {
    await using host = await createFakeHost();
    await setActivity(host, seen);
    expect(await host.check(1000)).toBe(false);
    expect(await host.check(1100)).toBe(true);
  });
});

describe('deadline.sh', () => {
  test('powers the host off at the deadline, and only warns before', async () => {
    await using host = await createFakeHost();
    expect(await host.deadline(7200)).toBe('');
    const warning =
      'wall: Slipway: this machine, web, powers off in 5 min. To extend its deadline: slipway extend web 2h\n';
    expect(await host.deadline(300)).toBe(warning);
    expect(await host.deadline(-1)).toBe(
      `${warning}wall: Slipway: this machine, web, powers off now: its deadline has passed\npoweroff\n`,
    );
  });
});

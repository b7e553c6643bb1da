import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../fakes/folder.ts';
import { run } from '../fakes/programs.ts';

const script = (name: string): string => fileURLToPath(new URL(`../../templates/${name}`, import.meta.url));

type Process = { readonly comm: string; readonly title?: string };

/** A host made of files: its processes, its table of connections, its clock, and a systemctl that only notes what it is told. */
async function fakeProc() {
  const folder = await temporaryFolder();
  const proc = join(folder.path, 'proc');
  const state = join(folder.path, 'run');
  const bin = join(folder.path, 'bin');
  const told = join(folder.path, 'told');
  await mkdir(join(proc, 'net'), { recursive: true });
  await mkdir(bin);
  await writeFile(join(bin, 'systemctl'), `#!/bin/sh\necho "$*" >>'${told}'\n`);
  await writeFile(join(bin, 'wall'), `#!/bin/sh\necho "wall: $*" >>'${told}'\n`);
  for (const program of ['systemctl', 'wall']) await chmod(join(bin, program), 0o755);
  let pid = 1;
  const env = { PATH: `${bin}:${process.env.PATH}`, PROC: proc, RUN: state };
  return {
    async runs({ comm, title = comm }: Process): Promise<void> {
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
    /** The check, at this second of the host's uptime; true when it powers the host off. */
    async check(second: number, idle = 100): Promise<boolean> {
      await writeFile(join(proc, 'uptime'), `${second}.52 99.10\n`);
      const { code, stderr } = await run('sh', [script('idle.sh'), String(idle), '2376', 'web'], { env });
      expect([code, stderr]).toEqual([0, '']);
      const said = await readFile(told, 'utf8').catch(() => '');
      return /^poweroff$/m.test(said);
    },
    /** deadline.sh, so many seconds before its deadline. */
    async deadline(left: number): Promise<string> {
      const at = Math.ceil(Date.now() / 1000) + left;
      const { code, stderr } = await run('sh', [script('deadline.sh'), String(at), 'web'], { env });
      expect([code, stderr]).toEqual([0, '']);
      return await readFile(told, 'utf8').catch(() => '');
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const ENGINE = '0100007F:0948 0100007F:C350 01 00000000:00000000';

describe('a host that is to stop when it is idle', () => {
  test('counts from its boot, and stops when the time is over, not before', async () => {
    await using host = await fakeProc();
    await host.connections();
    expect(await host.check(1000)).toBe(false);
    expect(await host.check(1099)).toBe(false);
    expect(await host.check(1100)).toBe(true);
  });

  const signs: readonly {
    readonly sign: string;
    readonly comm?: string;
    readonly title?: string;
    readonly line?: string;
  }[] = [
    { sign: 'a running container', comm: 'containerd-shim' },
    { sign: 'a connection to the engine', line: ENGINE },
    { sign: 'a login as root', comm: 'sshd', title: 'sshd: root@notty' },
    { sign: 'a login of a newer OpenSSH', comm: 'sshd-session', title: 'sshd-session: deploy@pts/0' },
    { sign: 'a login that forwards ports alone', comm: 'sshd', title: 'sshd: deploy' },
  ];
  test.each(signs)('is kept up by $sign', async ({ comm, title, line }) => {
    await using host = await fakeProc();
    await host.connections(...(line === undefined ? [] : [line]));
    if (comm !== undefined) await host.runs({ comm, ...(title === undefined ? {} : { title }) });
    for (const second of [1000, 1099, 1100, 5000]) expect(await host.check(second), String(second)).toBe(false);
    // From the last sign on it counts anew.
    await using after = await fakeProc();
    await after.connections(ENGINE);
    await after.check(1000);
    await after.check(1090);
    await after.connections();
    expect(await after.check(1189)).toBe(false);
    expect(await after.check(1190)).toBe(true);
  });

  const noise: readonly {
    readonly what: string;
    readonly comm?: string;
    readonly title?: string;
    readonly line?: string;
  }[] = [
    { what: 'its SSH server', comm: 'sshd', title: 'sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups' },
    { what: 'somebody who only knocks', comm: 'sshd', title: 'sshd: unknown [priv]' },
    { what: 'somebody who tries passwords', comm: 'sshd-session', title: 'sshd-session: root [net]' },
    { what: 'its engine', comm: 'dockerd' },
    { what: 'the engine’s open port', line: '00000000:0948 00000000:0000 0A 00000000:00000000' },
    { what: 'a connection that is over', line: '0100007F:0948 0100007F:C350 06 00000000:00000000' },
    { what: 'a connection to another port', line: '0100007F:0016 0100007F:C350 01 00000000:00000000' },
  ];
  test.each(noise)('is not kept up by $what', async ({ comm, title, line }) => {
    await using host = await fakeProc();
    await host.connections(...(line === undefined ? [] : [line]));
    if (comm !== undefined) await host.runs({ comm, ...(title === undefined ? {} : { title }) });
    expect(await host.check(1000)).toBe(false);
    expect(await host.check(1100)).toBe(true);
  });
});

describe('a host with a deadline', () => {
  test('is powered off at the deadline, and not by the warning before', async () => {
    await using host = await fakeProc();
    expect(await host.deadline(7200)).toBe('');
    const warning = 'wall: Slipway: this machine, web, is powered off in 5 min; more time: slipway extend web 2h\n';
    expect(await host.deadline(300)).toBe(warning);
    expect(await host.deadline(-1)).toBe(
      `${warning}wall: Slipway: the deadline of this machine, web, has come: it is powered off\npoweroff\n`,
    );
  });
});

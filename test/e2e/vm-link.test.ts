import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { isProcessAlive } from '../fakes/executable-scripts.ts';
import { findFreePort } from '../fakes/free-port.ts';
import { expectSuccess, type User } from './test-user.ts';
import { loadToolsImage } from './tools-image.ts';
import { createVmUser, describeOnVm, VM_TIMEOUT_SECONDS } from './vm-user.ts';

/** What is slow on a busy computer is not wrong. */
const WAIT = { timeout: 60_000, interval: 200 };

/** Sends a datagram to a port of 127.0.0.1, and returns the answer; undefined if there is none within two seconds. */
async function exchangeDatagram(port: number, text: string): Promise<string | undefined> {
  const socket = createSocket('udp4');
  try {
    socket.send(text, port, '127.0.0.1');
    return await Promise.race([once(socket, 'message').then(([answer]) => String(answer)), sleep(2000, undefined)]);
  } finally {
    socket.close();
  }
}

describeOnVm('the published ports of a local VM', { timeout: VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  let web: number;
  let loopback: number;
  let udp: number;
  const docker = (...argv: readonly string[]): Promise<string> =>
    expectSuccess(user.docker('--context', 'dev', ...argv)).then(({ stdout }) => stdout.trim());
  const fetchText = async (url: string): Promise<string> => (await user.run('curl', ['-sg', '-m', '5', url])).stdout;
  const readPorts = async (): Promise<readonly { port: number; container: string; problem: string | null }[]> =>
    (JSON.parse((await user.slipway('status', 'dev', '--json')).stdout) as { ports: never }).ports;
  const linkPid = async (): Promise<number> => {
    const state = await readFile(join(user.home, '.slipway/machines/dev/link/state.json'), 'utf8').catch(() => '{}');
    return (JSON.parse(state) as { pid?: number }).pid ?? 0;
  };
  /** Starts a web server that answers with its name. */
  const runServer = (name: string, ...flags: readonly string[]): Promise<string> =>
    docker(
      'run',
      '-d',
      '--name',
      name,
      '--restart',
      'always',
      ...flags,
      'tools',
      'sh',
      '-c',
      `mkdir -p /w; echo ${name} >/w/index.html; exec httpd -f -p 80 -h /w`,
    );

  beforeAll(async () => {
    user = await createVmUser();
    await expectSuccess(user.slipway('create', 'dev'));
    await loadToolsImage(user, 'dev');
    [web, loopback, udp] = [await findFreePort(), await findFreePort(), await findFreePort()];
  }, VM_TIMEOUT_SECONDS * 1000);
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  });

  test('create leaves a link that keeps nothing open of the command', async () => {
    const pid = await linkPid();
    expect(await isProcessAlive(pid)).toBe(true);
    expect((await user.run('readlink', [`/proc/${pid}/fd/0`])).stdout.trim()).toBe('/dev/null');
    expect((await stat(join(user.home, '.slipway/machines/dev/link'))).mode & 0o777).toBe(0o700);
  });

  test('TCP, IPv6, and what is published on the loopback of the VM, is reachable on this computer', async () => {
    await runServer('web', '-p', `${web}:80`, '-p', `127.0.0.1:${loopback}:80`);
    for (const url of [`http://127.0.0.1:${web}/`, `http://[::1]:${web}/`, `http://127.0.0.1:${loopback}/`])
      await vi.waitFor(async () => expect(await fetchText(url)).toBe('web\n'), WAIT);
    expect(await readPorts()).toEqual([
      expect.objectContaining({ port: Math.min(web, loopback), container: 'web', problem: null }),
      expect.objectContaining({ port: Math.max(web, loopback), container: 'web', problem: null }),
    ]);
    expect((await user.slipway('ls')).stdout).toContain(`${web} → web`);
  });

  test('clients without TLS use the socket, also for input and output of a container', async () => {
    const path = join(user.home, '.slipway/machines/dev/docker.sock');
    const settings = (await expectSuccess(user.slipway('env', 'dev', '--socket', '--shell', 'bash'))).stdout;
    expect(settings).toContain(`export DOCKER_HOST='unix://${path}'`);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const run = 'docker run --rm -i --network none tools cat';
    const answer = await user.run('bash', ['-c', `eval "$1"; echo through the socket | ${run}`, 'bash', settings]);
    expect(answer).toMatchObject({ code: 0, stdout: 'through the socket\n' });
  });

  test('UDP is reachable', async () => {
    // The image has no server of UDP, but the VM has Perl.
    const echo =
      'use Socket; socket(S, PF_INET, SOCK_DGRAM, 0); bind(S, sockaddr_in(53, INADDR_ANY)); while (1) { $peer = recv(S, $text, 9000, 0); send(S, $text, 0, $peer) }';
    const folders = ['/usr', '/lib', '/lib64'].flatMap((folder) => ['-v', `${folder}:${folder}:ro`]);
    await docker('run', '-d', '--name', 'dns', '-p', `${udp}:53/udp`, ...folders, 'tools', '/usr/bin/perl', '-e', echo);
    await vi.waitFor(async () => expect(await exchangeDatagram(udp, 'ping')).toBe('ping'), WAIT);
    await docker('rm', '-f', 'dns');
  });

  test('a port that another program has is named, and opened once it is free', async () => {
    const server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    await runServer('db', '-p', `${port}:80`);
    await vi.waitFor(async () => {
      const problem = (await readPorts()).find(({ container }) => container === 'db')?.problem;
      expect(problem).toContain(`(pid ${process.pid})`);
    }, WAIT);
    await new Promise((resolve) => void server.close(resolve));
    await vi.waitFor(async () => expect(await fetchText(`http://127.0.0.1:${port}/`)).toBe('db\n'), WAIT);
    await docker('rm', '-f', 'db');
    await vi.waitFor(async () => expect((await user.run('curl', ['-s', `127.0.0.1:${port}`])).code).toBe(7), WAIT);
  });

  test('after a kill -9 of the link, ports stay open, and the next command starts the link again', async () => {
    const before = await linkPid();
    process.kill(before, 'SIGKILL');
    expect(await fetchText(`http://127.0.0.1:${web}/`)).toBe('web\n');
    await expectSuccess(user.slipway('ls'));
    await vi.waitFor(async () => expect(await linkPid()).not.toBe(before), WAIT);
    expect(await isProcessAlive(await linkPid())).toBe(true);
    await vi.waitFor(async () => expect(await fetchText(`http://127.0.0.1:${loopback}/`)).toBe('web\n'), WAIT);
  });

  test('a link that was stopped for a while, as by sleep, catches up', async () => {
    const pid = await linkPid();
    process.kill(pid, 'SIGSTOP');
    const port = await findFreePort();
    await runServer('late', '-p', `${port}:80`);
    await sleep(20_000);
    process.kill(pid, 'SIGCONT');
    await vi.waitFor(async () => expect(await fetchText(`http://127.0.0.1:${port}/`)).toBe('late\n'), WAIT);
    expect(await linkPid()).toBe(pid);
    await docker('rm', '-f', 'late');
  });

  test('a suspend ends the link, and the ports are open when start returns', async () => {
    const pid = await linkPid();
    await expectSuccess(user.slipway('stop', '--suspend', 'dev'));
    expect(await isProcessAlive(pid)).toBe(false);
    expect((await user.run('curl', ['-s', `127.0.0.1:${web}`])).code).toBe(7);
    await expectSuccess(user.slipway('start', 'dev'));
    expect(await fetchText(`http://127.0.0.1:${web}/`)).toBe('web\n');
    await vi.waitFor(async () => expect(await fetchText(`http://127.0.0.1:${loopback}/`)).toBe('web\n'), WAIT);
  });

  test('provision --no-link closes the ports and ends the link, and --link opens them again', async () => {
    const pid = await linkPid();
    await expectSuccess(user.slipway('provision', 'dev', '--no-link'));
    expect(await isProcessAlive(pid)).toBe(false);
    expect((await user.run('curl', ['-s', `127.0.0.1:${web}`])).code).toBe(7);
    await expectSuccess(user.slipway('provision', 'dev', '--link'));
    await vi.waitFor(async () => expect(await fetchText(`http://127.0.0.1:${web}/`)).toBe('web\n'), WAIT);
  });

  test('stop ends the link, and rm leaves no process', async () => {
    const pid = await linkPid();
    await expectSuccess(user.slipway('stop', 'dev'));
    expect(await isProcessAlive(pid)).toBe(false);
    expect(await linkPid()).toBe(0);
    await expectSuccess(user.slipway('start', 'dev'));
    const next = await linkPid();
    expect(await isProcessAlive(next)).toBe(true);
    await expectSuccess(user.slipway('rm', 'dev'));
    expect(await isProcessAlive(next)).toBe(false);
  });
});

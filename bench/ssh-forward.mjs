// Measures the link's forwards against OpenSSH's own, through one OpenSSH server on this computer. bench/run.mjs
// imports this.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const SSHD = '/usr/sbin/sshd';
const MEGABYTES = 200;
const IDLE_SECONDS = 20;
const chunk = Buffer.alloc(65_536, 'x');

/** Returns the reason why this can't be measured here; undefined if it can. */
export async function findSshForwardProblem() {
  return existsSync(SSHD) && process.platform === 'linux' ? undefined : 'OpenSSH server for Linux is not installed';
}

/**
 * Calls `work` with the ports of the same server: forwarded by the link, and by `ssh -L`. `usage` returns the memory
 * and the CPU time of the link's process.
 */
export async function runWithForwards(folder, work) {
  const children = [];
  const start = (program, argv) => {
    const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    return child;
  };
  const server = createServer({ noDelay: true }, serve).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const target = server.address().port;
    const [sshPort, ours, theirs] = [await findFreePort(), await findFreePort(), await findFreePort()];
    const key = join(folder, 'ssh-key');
    const hostKey = join(folder, 'ssh-host-key');
    for (const file of [key, hostKey])
      await once(spawn('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]), 'exit');
    await startSshd({ folder, key, hostKey, sshPort, start });
    const to = { user: userInfo().username, key, sshPort, target, hostKey };
    const link = start(process.execPath, [await buildForwarder(folder), JSON.stringify({ ...to, listen: ours })]);
    await Promise.race([once(createInterface({ input: link.stdout }), 'line'), failOnExit(link)]);
    start('ssh', sshArguments({ ...to, listen: theirs }));
    for (const port of [ours, theirs]) await waitForPort(port);
    return await work({ ours, theirs, direct: target, usage: () => usageOf(link.pid) });
  } finally {
    for (const child of children) child.kill('SIGTERM');
    server.close();
  }
}

/** Sends or receives this many MB, and returns the seconds. */
export async function timeTransfer(port, direction) {
  const started = performance.now();
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  if (direction === 'up') {
    socket.write('u');
    await writeAll(socket);
    // The server answers once it has all.
    await once(socket, 'data');
    socket.destroy();
  } else {
    socket.write('d');
    let received = 0;
    for await (const data of socket) received += data.length;
    if (received !== MEGABYTES * 1024 * 1024) throw new Error(`received ${received} bytes`);
  }
  return (performance.now() - started) / 1000;
}

/** Asks and gets a short answer on a new connection, again and again, and returns the seconds. */
export async function timeShortConnections(port, count = 500) {
  const started = performance.now();
  for (let index = 0; index < count; index += 1) {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.write('e');
    await once(socket, 'data');
    socket.destroy();
  }
  return (performance.now() - started) / 1000;
}

/** Returns the share of one CPU that a process uses while nothing happens, and its memory. */
export async function measureIdle(usage) {
  const before = await usage();
  await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1000));
  const after = await usage();
  return { memory: after.memory, cpu: (after.cpu - before.cpu) / IDLE_SECONDS };
}

/** The first byte says what a client wants: to upload, to download, or an echo. */
function serve(socket) {
  socket.on('error', () => {});
  let received = 0;
  socket.once('data', (first) => {
    const [kind] = first.toString('latin1');
    if (kind === 'd') return void writeAll(socket).then(() => socket.end());
    if (kind === 'e') return void socket.write('e');
    received = first.length - 1;
    socket.on('data', (data) => {
      received += data.length;
      if (received >= MEGABYTES * 1024 * 1024) socket.write('k');
    });
  });
}

async function writeAll(socket) {
  for (let sent = 0; sent < MEGABYTES * 1024 * 1024; sent += chunk.length) {
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
}

async function startSshd({ folder, key, hostKey, sshPort, start }) {
  if (userInfo().uid === 0) await mkdir('/run/sshd', { recursive: true });
  const config = join(folder, 'sshd_config');
  const lines = [
    'ListenAddress 127.0.0.1',
    `Port ${sshPort}`,
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${key}.pub`,
    'PidFile none',
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin yes',
  ];
  await writeFile(config, `${lines.join('\n')}\n`);
  start(SSHD, ['-D', '-f', config, '-E', join(folder, 'sshd.log')]);
  await waitForPort(sshPort);
}

function sshArguments({ user, key, sshPort, target, listen }) {
  const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'IdentitiesOnly=yes'];
  const flags = options.flatMap((option) => ['-o', option]);
  const forward = `127.0.0.1:${listen}:127.0.0.1:${target}`;
  return ['-F', 'none', ...flags, '-i', key, '-p', String(sshPort), '-N', '-L', forward, `${user}@127.0.0.1`];
}

/** Builds a program that forwards one port with the link's own code, bundled as dist/ is. */
async function buildForwarder(folder) {
  const outfile = join(folder, 'ssh-forward.mjs');
  await build({
    stdin: {
      resolveDir: fileURLToPath(new URL('../src', import.meta.url)),
      loader: 'ts',
      contents: `
        import { connectSsh } from './ssh/connection.ts';
        import { createLinkConnection } from './link/link-connection.ts';
        import { createSshForwarder } from './link/ssh-forwarder.ts';
        const { user, key, sshPort, target, listen } = JSON.parse(process.argv[2]);
        const { platform, arch, env } = process;
        const { session } = createLinkConnection({
          open: (signal) => connectSsh(
            { address: '127.0.0.1', port: sshPort, user, keyFile: key },
            { userHome: '/nowhere', platform, env, agentSocket: undefined, allowOpenSsh: false, signal, debug() {} },
            () => {},
          ),
        });
        await session();
        const computer = { platform, arch, env, home: '', templates: '' };
        const forwarder = createSshForwarder({ session, computer, signal: new AbortController().signal });
        const at = (port) => ({ address: '127.0.0.1', port });
        console.log(JSON.stringify(await forwarder.add({ protocol: 'tcp', listen: at(listen), target: at(target) })));
      `,
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url); const __dirname = '';",
    },
    loader: { '.node': 'empty' },
    external: ['cpu-features'],
    logLevel: 'warning',
  });
  return outfile;
}

async function failOnExit(child) {
  const [code] = await once(child, 'exit');
  throw new Error(`the process that forwards ended with status ${code}`);
}

async function findFreePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function waitForPort(port) {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const socket = connect(port, '127.0.0.1');
    const isOpen = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`nothing listens on port ${port}`);
}

/** Returns the CPU seconds and the MB of a process, from /proc: its clock ticks a hundred times a second. */
async function usageOf(pid) {
  const stat = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1].split(' ');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return {
    cpu: (Number(stat[11]) + Number(stat[12])) / 100,
    memory: Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024),
  };
}

import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, connect as connectSocket, Socket, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { fingerprint, type HostKeyVerdict } from '../../src/ssh/host-key.ts';
import type { SshTarget } from '../../src/machine/model.ts';
import { sh } from '../../src/ssh/shell.ts';
import { connectSsh, type SshClientOptions, type SshSession } from '../../src/ssh/connection.ts';
import { connectPacketSocket } from '../../src/ssh/packet-socket.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { SSHD_GREETING, startClosingServer } from '../fakes/closing-server.ts';
import { isPosix, withSlashes } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import {
  exitChannel,
  generateEncryptedKeys,
  generateKeys,
  startSshServer,
  type OnExec,
  type SshServer,
} from '../fakes/ssh-server.ts';

const userKeys = generateKeys();
let home: Awaited<ReturnType<typeof createTemporaryFolder>>;
let keyFile: string;

beforeEach(async () => {
  home = await createTemporaryFolder();
  keyFile = join(home.path, 'key');
  await writeFile(keyFile, userKeys.private, { mode: 0o600 });
});
afterEach(() => home[Symbol.asyncDispose]());

const targetOn = (server: { readonly port: number }, more: Partial<SshTarget> = {}): SshTarget => ({
  address: '127.0.0.1',
  port: server.port,
  user: 'ops',
  keyFile,
  ...more,
});
const clientSide = (more: Partial<SshClientOptions> = {}): SshClientOptions => ({
  userHome: home.path,
  platform: process.platform,
  env: process.env,
  agentSocket: undefined,
  allowOpenSsh: false,
  signal: new AbortController().signal,
  debug: () => {},
  ...more,
});
const openSession = (
  server: SshServer,
  more: Partial<SshTarget> = {},
  clientOptions: Partial<SshClientOptions> = {},
): Promise<SshSession> => connectSsh(targetOn(server, more), clientSide(clientOptions), () => {});

describe('a host that closes the connection during the login', () => {
  test.each([
    ['before its greeting', '', false],
    ['instead of its greeting', 'Not allowed at this time\r\n', false],
    ['after its greeting', SSHD_GREETING, false],
    ["after the client's first message", SSHD_GREETING, true],
  ])('%s is reported', async (_when, greeting, closesAfterData) => {
    await using server = await startClosingServer(greeting, closesAfterData);
    const error = await catchRejection(connectSsh(targetOn(server), clientSide(), () => {}));
    expect(error?.code).toBe('SSH_UNREACHABLE');
    expect(error?.message).toContain(`127.0.0.1:${server.port}`);
  });

  test('is quoted', async () => {
    const nologin = 'System is booting up.\nPlease come back later.\n';
    await using server = await startSshServer({ authorized: [userKeys], nologin });
    const error = await catchRejection(openSession(server));
    expect(error).toMatchObject({
      code: 'SSH_UNREACHABLE',
      message: `127.0.0.1:${server.port} closed the SSH connection during the login`,
      detail: ['System is booting up.', 'Please come back later.'],
    });
    expect(error?.hint).toContain(`ssh -p ${server.port} ops@127.0.0.1`);
  });

  test('is reported when it is the jump host, which closes while it opens the tunnel', async () => {
    await using jump = await startSshServer({ authorized: [userKeys], closesTunnels: true });
    await using server = await startSshServer({ authorized: [userKeys] });
    const started = performance.now();
    const error = await catchRejection(
      openSession(server, { jump: { address: '127.0.0.1', port: jump.port, user: 'ops' } }),
    );
    expect(error).toMatchObject({ code: 'SSH_UNREACHABLE' });
    expect(error?.message).toContain('the jump host closed the connection');
    expect(performance.now() - started).toBeLessThan(15_000);
  });
});

describe('a connection', () => {
  test('is shared by all commands', async () => {
    await using server = await startSshServer({ authorized: [userKeys] });
    {
      await using session = await openSession(server);
      for (const word of ['a', 'b', 'c']) await session.exec(sh`echo ${word}`, { label: word });
    }
    await server.waitUntilIdle();
    expect(server.events.filter((event) => !event.startsWith('auth'))).toEqual([
      'connect',
      'exec echo a',
      'exec echo b',
      'exec echo c',
      'close',
    ]);
  });

  test('sends a message in one piece, although the library writes it in several', async () => {
    const chunks: string[] = [];
    const server = createServer((socket) => void socket.on('data', (data) => chunks.push(data.toString())));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const socket = connectPacketSocket('127.0.0.1', (server.address() as AddressInfo).port);
    await once(socket, 'connect');
    const sendTogether = vi.spyOn(socket, '_writev');
    for (const part of ['len', 'data', 'tag']) socket.write(part);
    await vi.waitFor(() => expect(chunks.join('')).toBe('lendatatag'));
    expect(sendTogether.mock.calls.map(([parts]) => parts.length)).toEqual([3]);
    socket.end('more');
    await vi.waitFor(() => expect(chunks.join('')).toBe('lendatatagmore'));
    await new Promise((resolve) => void server.close(resolve));
  });

  test('sends messages without waiting for acknowledgments', async () => {
    await using server = await startSshServer({ authorized: [userKeys] });
    const setNoDelay = vi.spyOn(Socket.prototype, 'setNoDelay');
    try {
      await using _session = await openSession(server);
      expect(setNoDelay.mock.calls).toEqual([[true]]);
    } finally {
      setNoDelay.mockRestore();
    }
  });

  test('reports the host key before it sends a user name to the host', async () => {
    await using server = await startSshServer({ authorized: [userKeys] });
    const seen: [string, HostKeyVerdict, readonly string[]][] = [];
    await using session = await connectSsh(targetOn(server), clientSide(), (_hop, key, verdict) =>
      seen.push([key, verdict, [...server.events]]),
    );
    expect(seen).toEqual([[server.hostKeys[0], { verdict: 'first-seen' }, ['connect']]]);
    expect([session.hostKey, session.jumpHostKey]).toEqual([server.hostKeys[0], undefined]);
  });

  test('ends before any login when the host key is not the pinned, given or known one', async () => {
    await using server = await startSshServer({ authorized: [userKeys] });
    await using other = await startSshServer({ authorized: [] });
    const [theirs = ''] = other.hostKeys;
    await mkdir(join(home.path, '.ssh'));
    await writeFile(join(home.path, '.ssh', 'known_hosts'), `[127.0.0.1]:${server.port} ${theirs}\n`);
    for (const more of [{ hostKey: theirs }, { expectedKey: fingerprint(theirs) }, {}]) {
      const error = await catchRejection(openSession(server, more));
      expect(error?.code).toBe('HOST_KEY');
      expect(error?.message).toContain(`showed the host key ssh-ed25519 ${fingerprint(server.hostKeys[0] ?? '')}, not`);
      expect(error?.message).toContain(fingerprint(theirs));
    }
    expect(server.events.filter((event) => event.startsWith('auth'))).toEqual([]);
  });

  test('ends before any login when the host key is revoked, also a pinned or given one', async () => {
    await using server = await startSshServer({ authorized: [userKeys] });
    const [key = ''] = server.hostKeys;
    await mkdir(join(home.path, '.ssh'));
    await writeFile(join(home.path, '.ssh', 'known_hosts'), `[127.0.0.1]:${server.port} ${key}\n@revoked * ${key}\n`);
    for (const more of [{ hostKey: key }, { expectedKey: fingerprint(key) }, {}])
      expect(await catchRejection(openSession(server, more))).toMatchObject({
        code: 'HOST_KEY',
        message: expect.stringContaining('which your known_hosts has revoked'),
      });
    expect(server.events.filter((event) => event.startsWith('auth'))).toEqual([]);
  });

  test('ends before any login when known_hosts trusts a certificate authority, unless the key is given', async () => {
    await using server = await startSshServer({ authorized: [userKeys] });
    const [key = ''] = server.hostKeys;
    await mkdir(join(home.path, '.ssh'));
    const file = join(home.path, '.ssh', 'known_hosts');
    await writeFile(file, `@cert-authority * ${key}\n`);
    const error = await catchRejection(openSession(server));
    expect(error?.message).toBe(
      `127.0.0.1 showed the host key ssh-ed25519 ${fingerprint(key)}, which can't be checked: ${file} trusts a certificate authority for [127.0.0.1]:${server.port}, and Slipway can't verify certificates`,
    );
    expect(error?.hint).toContain(`pass it: --generic-host-key ${fingerprint(key)} `);
    expect(server.events.filter((event) => event.startsWith('auth'))).toEqual([]);
    await using _session = await openSession(server, { expectedKey: fingerprint(key) });
  });

  test('asks a host with several keys for the pinned type', async () => {
    await using server = await startSshServer({ keys: [generateKeys(), generateKeys('rsa')], authorized: [userKeys] });
    for (const key of server.hostKeys) {
      await using session = await openSession(server, { hostKey: key });
      expect(session.hostKey).toBe(key);
    }
  });

  test('uses the default key files when no key is named and no agent runs', async () => {
    await using server = await startSshServer({ authorized: [userKeys] });
    await mkdir(join(home.path, '.ssh'));
    await writeFile(join(home.path, '.ssh', 'id_ed25519'), userKeys.private);
    const { keyFile: _named, ...unnamed } = targetOn(server);
    await using _session = await connectSsh(unnamed, clientSide(), () => {});
    expect(server.events).toContain('auth publickey ops');
  });
});

describe('a refusal', () => {
  const describeFailure = async (work: Promise<unknown>): Promise<string> => {
    const error = await catchRejection(work);
    return withSlashes(`${error?.code}: ${error?.message} → ${error?.hint}`)
      .replaceAll(withSlashes(home.path), 'HOME')
      .replaceAll(/(:|-p )\d{4,5}\b/g, '$1PORT');
  };

  test.runIf(isPosix)('of the key names the user, the host and the keys that were offered', async () => {
    await using server = await startSshServer({ authorized: [generateKeys()] });
    expect(await describeFailure(openSession(server))).toMatchInlineSnapshot(
      `"SSH_REFUSED: ops@127.0.0.1:PORT accepted none of the keys offered (HOME/key) → Specify the right key with --generic-ssh-key and the right user with --generic-ssh-user, or install your key on the host: ssh-copy-id -p PORT ops@127.0.0.1"`,
    );
  });

  test.runIf(isPosix)('with only an encrypted key says how to unlock it', async () => {
    await using server = await startSshServer({ authorized: [generateKeys()] });
    await writeFile(keyFile, generateEncryptedKeys('secret').private);
    expect(await describeFailure(openSession(server))).toMatchInlineSnapshot(
      `"SSH_REFUSED: ops@127.0.0.1:PORT accepted none of the keys offered (none; HOME/key has a passphrase) → Add the key to the SSH agent: eval "$(ssh-agent)" && ssh-add HOME/key"`,
    );
  });

  test('of a file that is not a key, or does not exist, comes before any connection', async () => {
    await using server = await startSshServer({ authorized: [userKeys] });
    await writeFile(keyFile, 'hello');
    expect(await describeFailure(openSession(server))).toMatch(
      /^USAGE: HOME\/key is not a private key that SSH can use: /,
    );
    expect(await describeFailure(openSession(server, { keyFile: join(home.path, 'none') }))).toMatch(
      /^USAGE: The SSH key HOME\/none can't be read: it does not exist/,
    );
    expect(server.events).toEqual([]);
  });

  test('of the address says why', async () => {
    const { port } = await startSshServer({ authorized: [] }).then(async (server) => {
      await server[Symbol.asyncDispose]();
      return server;
    });
    expect(await describeFailure(connectSsh(targetOn({ port }), clientSide(), () => {}))).toMatchInlineSnapshot(
      `"SSH_UNREACHABLE: Can't connect to 127.0.0.1:PORT over SSH: nothing listens there → Check the address and the port, that the host is running, and that no firewall blocks the port: ssh -p PORT ops@127.0.0.1"`,
    );
  });

  test('by a server that is not an SSH server is reported as unreachable', async () => {
    const web = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1');
    await once(web, 'listening');
    const { port } = web.address() as AddressInfo;
    expect((await catchRejection(connectSsh(targetOn({ port }), clientSide(), () => {})))?.code).toBe(
      'SSH_UNREACHABLE',
    );
    web.close();
  });
});

describe('a command', () => {
  const shell: OnExec = (command, channel) => {
    const parts: Buffer[] = [];
    if (command === 'lines') {
      channel.write('first\nsec');
      channel.stderr.write('warning\n');
      channel.write('ond\r\n10%\r90%\r100%\n\nü');
      return exitChannel(channel, 0);
    }
    if (command.startsWith('exit ')) {
      channel.stderr.write('why\n');
      return exitChannel(channel, Number(command.slice(5)));
    }
    if (command === 'killed') {
      channel.exit('KILL');
      return channel.end();
    }
    channel.on('data', (chunk: Buffer) => parts.push(chunk));
    channel.on('end', () => {
      const all = Buffer.concat(parts);
      channel.write(`${all.length} ${createHash('sha256').update(all).digest('hex')}`);
      exitChannel(channel, 0);
    });
  };

  test('returns its exit status, and does not throw it', async () => {
    await using server = await startSshServer({ authorized: [userKeys], onExec: shell });
    await using session = await openSession(server);
    expect(await session.exec(sh`exit 0`, { label: 'x' })).toEqual({ code: 0, stdout: '', stderr: 'why\n' });
    expect(await session.exec(sh`exit 42`, { label: 'x' })).toMatchObject({ code: 42, stderr: 'why\n' });
    expect(await session.exec(sh`killed`, { label: 'x' })).toMatchObject({ code: 255 });
  });

  test('receives its complete input, even a megabyte', async () => {
    await using server = await startSshServer({ authorized: [userKeys], onExec: shell });
    await using session = await openSession(server);
    const stdin = Buffer.alloc(1024 * 1024, 'slipway');
    const { stdout } = await session.exec(sh`cat`, { label: 'cat', stdin });
    expect(stdout).toBe(`${stdin.length} ${createHash('sha256').update(stdin).digest('hex')}`);
    expect((await session.exec(sh`cat`, { label: 'cat' })).stdout).toMatch(/^0 /);
  });

  test('passes on complete lines as they arrive, and only the last state of redrawn ones', async () => {
    await using server = await startSshServer({ authorized: [userKeys], onExec: shell });
    await using session = await openSession(server);
    const lines: string[] = [];
    const { stdout, stderr } = await session.exec(sh`lines`, { label: 'x', onLine: (line) => lines.push(line) });
    expect(lines.filter((line) => line !== 'warning')).toEqual(['first', 'second', '100%', '']);
    expect(lines).toContain('warning');
    expect([stdout, stderr]).toEqual(['first\nsecond\r\n10%\r90%\r100%\n\nü', 'warning\n']);
  });

  test('is logged with --debug: the command, its time and exit status, but never its input', async () => {
    await using server = await startSshServer({ authorized: [userKeys], onExec: shell });
    const lines: string[] = [];
    await using session = await openSession(server, {}, { debug: (line) => lines.push(line) });
    await session.exec(sh`cat`, { label: 'facts.sh', stdin: 'SUDO_PASSWORD=hunter2' });
    expect(lines.join('\n')).toMatch(/ssh 127\.0\.0\.1 \[facts\.sh\] cat -> exit 0 in \d+\.\d\d s/);
    expect(lines.join('\n')).not.toContain('hunter2');
  });
});

describe('a lost connection', () => {
  test('names the command that was running, and says to run it again', async () => {
    await using server = await startSshServer({
      authorized: [userKeys],
      onExec: (_command, _channel, connection) => connection.end(),
    });
    await using session = await openSession(server);
    expect(
      await catchRejection(session.exec(sh`apt-get install`, { label: 'install-engine.debian.sh' })),
    ).toMatchObject({
      code: 'SSH_LOST',
      message: 'The SSH connection to 127.0.0.1 was lost during install-engine.debian.sh',
      hint: 'To continue, run the same command again',
    });
    expect((await catchRejection(session.exec(sh`true`, { label: 'next' })))?.code).toBe('SSH_LOST');
  });

  test('is noticed by its silence', async () => {
    await using server = await startSshServer({ authorized: [userKeys], onExec: () => {} });
    const pipes: Socket[] = [];
    const wire = createServer((client) => {
      const upstream = connectSocket(server.port, '127.0.0.1');
      for (const socket of [client, upstream]) socket.on('error', () => {});
      client.pipe(upstream).pipe(client);
      pipes.push(client, upstream);
    }).listen(0, '127.0.0.1');
    await once(wire, 'listening');
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    try {
      const { port } = wire.address() as AddressInfo;
      await using session = await connectSsh(targetOn({ port }), clientSide(), () => {});
      const work = catchRejection(session.exec(sh`sleep 1000`, { label: 'long' }));
      // The connection is cut where neither end notices it.
      for (const socket of pipes) socket.pause().unpipe();
      vi.advanceTimersByTime(25_000);
      expect((await work)?.code).toBe('SSH_LOST');
    } finally {
      vi.useRealTimers();
      for (const socket of pipes) socket.destroy();
      wire.close();
    }
  });
});

describe('cancellation', () => {
  test('during a command closes the connection at once', async () => {
    const stop = new AbortController();
    await using server = await startSshServer({ authorized: [userKeys], onExec: () => stop.abort() });
    const session = await openSession(server, {}, { signal: stop.signal });
    expect((await catchRejection(session.exec(sh`sleep 1000`, { label: 'x' })))?.code).toBe('CANCELED');
    await server.waitUntilIdle();
    expect(server.events.at(-1)).toBe('close');
    expect((await catchRejection(session.exec(sh`true`, { label: 'x' })))?.code).toBe('CANCELED');
  });

  test('during connecting closes the connection', async () => {
    const stop = new AbortController();
    const silentServer = createServer(() => stop.abort()).listen(0, '127.0.0.1');
    await once(silentServer, 'listening');
    const { port } = silentServer.address() as AddressInfo;
    const work = connectSsh(targetOn({ port }), clientSide({ signal: stop.signal }), () => {});
    expect((await catchRejection(work))?.code).toBe('CANCELED');
    silentServer.close();
    await once(silentServer, 'close');
  });

  test('before the start opens no connection', async () => {
    await using server = await startSshServer({ authorized: [userKeys] });
    expect((await catchRejection(openSession(server, {}, { signal: AbortSignal.abort() })))?.code).toBe('CANCELED');
    expect(server.events.filter((event) => event.startsWith('auth'))).toEqual([]);
  });
});

describe('a jump host', () => {
  test('forwards the connection, and both host keys are reported', async () => {
    await using jumpServer = await startSshServer({ authorized: [userKeys] });
    await using server = await startSshServer({ authorized: [userKeys] });
    const jump = { address: '127.0.0.1', port: jumpServer.port, user: 'guard' };
    const keys: string[] = [];
    {
      await using session = await connectSsh(targetOn(server, { jump }), clientSide(), (hop, key) =>
        keys.push(`${hop.user} ${key}`),
      );
      expect(keys).toEqual([`guard ${jumpServer.hostKeys[0]}`, `ops ${server.hostKeys[0]}`]);
      expect([session.hostKey, session.jumpHostKey]).toEqual([server.hostKeys[0], jumpServer.hostKeys[0]]);
      expect(await session.exec(sh`true`, { label: 'x' })).toMatchObject({ code: 0 });
    }
    await Promise.all([jumpServer.waitUntilIdle(), server.waitUntilIdle()]);
    expect(jumpServer.events).toContain(`forward 127.0.0.1:${server.port}`);
    expect(jumpServer.events.filter((event) => event.startsWith('exec'))).toEqual([]);
  });

  test('with a wrong host key forwards nothing', async () => {
    await using jumpServer = await startSshServer({ authorized: [userKeys] });
    await using server = await startSshServer({ authorized: [userKeys] });
    const jump = { address: '127.0.0.1', port: jumpServer.port, user: 'guard', hostKey: server.hostKeys[0] ?? '' };
    expect((await catchRejection(openSession(server, { jump })))?.code).toBe('HOST_KEY');
    expect(server.events).toEqual([]);
  });

  test('does not hide a wrong host key behind it, and is disconnected then', async () => {
    await using jumpServer = await startSshServer({ authorized: [userKeys] });
    await using server = await startSshServer({ authorized: [userKeys] });
    const jump = { address: '127.0.0.1', port: jumpServer.port, user: 'guard' };
    expect((await catchRejection(openSession(server, { jump, hostKey: jumpServer.hostKeys[0] ?? '' })))?.code).toBe(
      'HOST_KEY',
    );
    await jumpServer.waitUntilIdle();
  });
});

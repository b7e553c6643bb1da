import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { SlipwayError } from '../../src/errors.ts';
import type { SshTarget } from '../../src/machine/model.ts';
import { connectSsh, type SshClientOptions, type SshSession } from '../../src/ssh/connection.ts';
import { sh } from '../../src/ssh/shell.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { generateKeyFile, type RealSshd, SSHD, startRealSshd } from '../fakes/real-sshd.ts';
import { hasProgram, runProgram } from '../fakes/run-program.ts';
import { bundleModule, startScript } from '../fakes/script-process.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

/** These tests log in to OpenSSH's own server, as the user who runs them. */
const hasOpenSsh = existsSync(SSHD) && hasProgram('ssh-agent');

let home: Awaited<ReturnType<typeof createTemporaryFolder>>;
let agents: ChildProcess[];
const path = (name: string): string => join(home.path, name);

beforeEach(async () => {
  home = await createTemporaryFolder();
  agents = [];
  await mkdir(path('.ssh'), { mode: 0o700 });
  vi.stubEnv('TMPDIR', home.path);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const agent of agents) {
    agent.kill();
    await once(agent, 'exit');
  }
  await home[Symbol.asyncDispose]();
});

function connect(
  { port, user }: RealSshd,
  target: Partial<SshTarget> = {},
  options: Partial<SshClientOptions> = {},
): Promise<SshSession> {
  return connectSsh(
    { address: '127.0.0.1', port, user, ...target },
    {
      userHome: home.path,
      platform: process.platform,
      env: process.env,
      agentSocket: undefined,
      allowOpenSsh: true,
      signal: new AbortController().signal,
      debug: () => {},
      ...options,
    },
    () => {},
  );
}

const run = async (file: string, argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<void> => {
  const { code, stderr } = await runProgram(file, argv, { env: { ...process.env, ...env } });
  expect([code, stderr.replace(/^(Identity|Certificate) added.*\n/gm, '')]).toEqual([0, '']);
};

/** Starts an ssh-agent with these keys, and returns its socket. */
async function startAgent(...keys: readonly string[]): Promise<string> {
  const socket = path(`agent-${agents.length}`);
  agents.push(spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' }));
  while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 10));
  for (const key of keys) await run('ssh-add', ['-q', key], { SSH_AUTH_SOCK: socket });
  return socket;
}

/** Generates a key with a certificate of a new CA, and starts a server that accepts only certificates of that CA. */
async function startCertificateServer(keyFile: string, user = process.env.USER ?? 'root'): Promise<RealSshd> {
  await generateKeyFile(path('ca'));
  await generateKeyFile(keyFile);
  const names = [user, 'root'].join(',');
  await run('ssh-keygen', ['-q', '-s', path('ca'), '-I', 'test', '-n', names, '-V', '+1d', `${keyFile}.pub`]);
  return await startRealSshd(home.path, { lines: [`TrustedUserCAKeys ${path('ca.pub')}`] });
}

const isAlive = async (session: SshSession): Promise<boolean> =>
  (await session.exec(sh`echo hello`, { label: 'x' })).stdout === 'hello\n';

describe.skipIf(!hasOpenSsh)("the user's own ssh logs in", () => {
  test('with a certificate beside the named key, and runs commands over one connection', async () => {
    await using server = await startCertificateServer(path('work'));
    {
      await using session = await connect(server, { keyFile: path('work') });
      expect(session.hostKey).toBe(server.hostKey);
      const lines: string[] = [];
      const result = await session.exec(sh`sh -s`, {
        label: 'x',
        stdin: 'echo one; echo "zwei ü"; echo why >&2; exit 7\n',
        onLine: (line) => lines.push(line),
      });
      expect(result).toEqual({ code: 7, stdout: 'one\nzwei ü\n', stderr: 'why\n' });
      expect(lines.toSorted()).toEqual(['one', 'why', 'zwei ü']);
      expect((await session.exec(sh`exit 255`, { label: 'x' })).code).toBe(255);
      const stdin = Buffer.alloc(1024 * 1024, 'slipway');
      expect((await session.exec(sh`wc -c`, { label: 'x', stdin })).stdout.trim()).toBe(String(stdin.length));
    }
    expect([...(await server.log()).matchAll(/Accepted publickey/g)]).toHaveLength(1);
    expect(await readdir(home.path)).not.toContainEqual(expect.stringMatching(/^slipway-ssh-/));
  });

  test('with a certificate beside ~/.ssh/id_ed25519', async () => {
    await using server = await startCertificateServer(path('.ssh/id_ed25519'));
    await using session = await connect(server);
    expect(await isAlive(session)).toBe(true);
  });

  test('with a certificate that only the agent has', async () => {
    await using server = await startCertificateServer(path('work'));
    await using session = await connect(server, {}, { agentSocket: await startAgent(path('work')) });
    expect(await isAlive(session)).toBe(true);
  });

  test('with a public key whose private key the agent has, among more keys than the host allows', async () => {
    const others = ['a', 'b', 'c'].map(path);
    for (const key of [...others, path('work')]) await generateKeyFile(key);
    const authorized = await readFile(path('work.pub'), 'utf8');
    await using server = await startRealSshd(home.path, { authorized, lines: ['MaxAuthTries 2'] });
    const agentSocket = await startAgent(...others, path('work'));
    await using session = await connect(server, { keyFile: path('work.pub') }, { agentSocket });
    expect(await isAlive(session)).toBe(true);
  });

  test('with the agent and the certificate that ~/.ssh/config names', async () => {
    await using server = await startCertificateServer(path('work'));
    const socket = await startAgent(path('work'));
    await writeFile(path('.ssh/config'), `Host 127.0.0.1\n  IdentityAgent ${socket}\n`);
    await using session = await connect(server);
    expect(await isAlive(session)).toBe(true);
  });

  test('to a host with which the library has no key exchange in common, after a look at its key', async () => {
    await generateKeyFile(path('work'));
    const authorized = await readFile(path('work.pub'), 'utf8');
    const lines = ['KexAlgorithms sntrup761x25519-sha512@openssh.com'];
    await using server = await startRealSshd(home.path, { authorized, lines });
    {
      await using session = await connect(server, { keyFile: path('work'), expectedKey: server.hostKey });
      expect([session.hostKey, await isAlive(session)]).toEqual([server.hostKey, true]);
    }
    const accepted = [...(await server.log()).matchAll(/Accepted/g)].length;
    await generateKeyFile(path('other'));
    const [type, key] = (await readFile(path('other.pub'), 'utf8')).split(' ');
    const error = await catchRejection(connect(server, { keyFile: path('work'), hostKey: `${type} ${key}` }));
    expect(error?.code).toBe('HOST_KEY');
    expect([...(await server.log()).matchAll(/Accepted/g)]).toHaveLength(accepted);
  });

  test('to a jump host that accepts only certificates, and to a target behind it', async () => {
    await using jumpServer = await startCertificateServer(path('work'));
    const authorized = await readFile(path('work.pub'), 'utf8');
    await using plain = await startRealSshd(home.path, { authorized });
    await using strict = await startRealSshd(home.path, { lines: [`TrustedUserCAKeys ${path('ca.pub')}`] });
    const jump = { address: '127.0.0.1', port: jumpServer.port, user: jumpServer.user };
    for (const server of [plain, strict]) {
      await using session = await connect(server, { keyFile: path('work'), jump });
      expect([session.hostKey, session.jumpHostKey]).toEqual([server.hostKey, jumpServer.hostKey]);
      expect(await isAlive(session)).toBe(true);
    }
  });
});

describe.skipIf(!hasOpenSsh)('a login that ends', () => {
  test('in a lost connection names the command that ran', async () => {
    await using server = await startCertificateServer(path('work'));
    await using session = await connect(server, { keyFile: path('work') });
    const work = catchRejection(session.exec(sh`${['sh', '-c', 'kill -9 $PPID; sleep 60']}`, { label: 'install' }));
    expect(await work).toMatchObject({ code: 'SSH_LOST', message: expect.stringContaining('lost during install') });
  });

  test('by a cancellation ends at once', async () => {
    const stop = new AbortController();
    await using server = await startCertificateServer(path('work'));
    await using session = await connect(server, { keyFile: path('work') }, { signal: stop.signal });
    const work = catchRejection(session.exec(sh`sleep 600`, { label: 'x' }));
    stop.abort();
    expect((await work)?.code).toBe('CANCELED');
  });
});

test.skipIf(!hasOpenSsh || process.platform !== 'linux')('nothing outlives a Slipway that was killed', async () => {
  await using server = await startCertificateServer(path('work'));
  const module = await bundleModule('ssh/openssh-session.ts', home.path);
  const target = {
    address: '127.0.0.1',
    port: server.port,
    user: server.user,
    keyFile: path('work'),
    hostKey: server.hostKey,
  };
  const script = `
    import { openOpenSshSession } from ${JSON.stringify(module)};
    await openOpenSshSession(${JSON.stringify(target)}, {
      userHome: ${JSON.stringify(home.path)}, platform: 'linux', env: process.env, agentSocket: undefined,
      allowOpenSsh: true, signal: new AbortController().signal, debug: () => {},
    });
    process.stdout.write('connected\\n');
    setInterval(() => {}, 1000);`;
  const slipway = await startScript(script, home.path);
  expect(await slipway.readLine()).toBe('connected');
  const children = async (): Promise<string> =>
    (await runProgram('pgrep', ['-f', `IdentityFile=${path('work')}`])).stdout;
  expect(await children()).not.toBe('');
  slipway.process.kill('SIGKILL');
  await slipway.ended;
  for (let attempt = 0; attempt < 100 && (await children()) !== ''; attempt += 1)
    await new Promise((resolve) => setTimeout(resolve, 100));
  expect(await children()).toBe('');

  // The folder that it left is removed by the next login, whose own folder is removed by itself.
  const folders = async (): Promise<readonly string[]> =>
    (await readdir(home.path)).filter((name) => name.startsWith('slipway-ssh-'));
  const left = await folders();
  expect(left).toHaveLength(1);
  {
    await using _session = await connect(server, { keyFile: path('work') });
    await vi.waitFor(async () => expect(await folders()).not.toContain(left[0]), 10_000);
    expect(await folders()).toHaveLength(1);
  }
  expect(await folders()).toEqual([]);
});

describe.skipIf(!hasOpenSsh)('a refusal', () => {
  const refusalOf = async (work: Promise<unknown>): Promise<SlipwayError> => {
    const error = await catchRejection(work);
    if (error === undefined) throw new Error('The login succeeded');
    return error;
  };

  test('quotes ssh, and suggests no password where the host accepts none', async () => {
    await generateKeyFile(path('work'));
    await using server = await startRealSshd(home.path);
    const error = await refusalOf(connect(server, { keyFile: path('work') }));
    expect(error).toMatchObject({
      code: 'SSH_REFUSED',
      message: `${server.user}@127.0.0.1:${server.port} accepted none of the keys offered (${path('work')})`,
      detail: [expect.stringContaining('Permission denied (publickey)')],
    });
    expect(error.hint).toContain('the host accepts no passwords');
    expect(error.hint).not.toContain('ssh-copy-id');
  });

  test('suggests ssh-copy-id where the host accepts passwords', async () => {
    await generateKeyFile(path('work'));
    await using server = await startRealSshd(home.path, { lines: ['PasswordAuthentication yes'] });
    const error = await refusalOf(connect(server, { keyFile: path('work') }));
    expect(error.hint).toContain(`ssh-copy-id -p ${server.port}`);
  });

  test('names the second factor that a person would have to give', async () => {
    await generateKeyFile(path('work'));
    await using server = await startRealSshd(home.path, {
      authorized: await readFile(path('work.pub'), 'utf8'),
      lines: ['PasswordAuthentication yes', 'AuthenticationMethods publickey,password'],
    });
    const error = await refusalOf(connect(server, { keyFile: path('work') }));
    expect(error).toMatchObject({
      code: 'SSH_REFUSED',
      message: `${server.user}@127.0.0.1:${server.port} asks for more than a key: password`,
    });
  });

  test('of an agent with too many keys says which flag puts the right one first', async () => {
    const keys = ['a', 'b', 'c', 'd'].map(path);
    for (const key of keys) await generateKeyFile(key);
    await using server = await startRealSshd(home.path, {
      authorized: await readFile(path('d.pub'), 'utf8'),
      lines: ['MaxAuthTries 2'],
    });
    const agentSocket = await startAgent(...keys);
    const error = await refusalOf(connect(server, {}, { agentSocket }));
    expect(error.code).toBe('SSH_REFUSED');
    expect(error.message).toContain('too many of the keys offered were wrong (the SSH agent)');
    expect(error.hint).toContain('--generic-ssh-key');
    await using session = await connect(server, { keyFile: path('d') }, { agentSocket });
    expect(await isAlive(session)).toBe(true);
  });

  test('of a key with a passphrase starts an agent where none runs', async () => {
    await generateKeyFile(path('work'), 'secret words');
    await using server = await startRealSshd(home.path, { authorized: await readFile(path('work.pub'), 'utf8') });
    const error = await refusalOf(connect(server, { keyFile: path('work') }));
    expect(error.message).toContain(`${path('work')} has a passphrase`);
    expect(error.hint).toBe(`Add the key to the SSH agent: eval "$(ssh-agent)" && ssh-add ${path('work')}`);
  });

  test('of a public key says where its private key is missing', async () => {
    await generateKeyFile(path('work'));
    await using server = await startRealSshd(home.path, { authorized: await readFile(path('work.pub'), 'utf8') });
    const error = await refusalOf(connect(server, { keyFile: path('work.pub') }, { agentSocket: await startAgent() }));
    expect(error).toMatchObject({ code: 'SSH_REFUSED', hint: expect.stringContaining('ssh-add -l') });
    expect(error.message).toContain(`${path('work.pub')} is a public key, and no agent has its private key`);
  });

  test('is that of the library on a computer without ssh', async () => {
    await using server = await startCertificateServer(path('work'));
    const env = { ...process.env, PATH: home.path };
    const error = await refusalOf(connect(server, { keyFile: path('work') }, { env }));
    expect([error.code, error.detail]).toEqual(['SSH_REFUSED', []]);
  });
});

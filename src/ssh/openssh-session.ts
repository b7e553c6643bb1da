/**
 * Logs in with the user's own `ssh`, where the SSH library can't: with a certificate, a security key, a smart card or a
 * Kerberos ticket, through an agent that ~/.ssh/config names, or with a method of key exchange that the library lacks.
 * `ssh` never asks a question here, and accepts only the host keys that Slipway has verified.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { mkdtemp, stat, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteFolder } from '../computer/files.ts';
import { locateProgram } from '../computer/programs.ts';
import { canceledError, type SlipwayError } from '../errors.ts';
import type { SshHop, SshTarget } from '../machine/model.ts';
import { collectOutput } from './command-output.ts';
import { CONNECT_SECONDS, connectionLostError, forwardingRefusedError } from './connection-errors.ts';
import { formatKnownHosts, quoteLiteral, sshFlagsFor, sshOptionsFor } from './openssh-options.ts';
import type { ExecOptions, ExecResult, RemoteCommand, SshClientOptions, SshSession } from './session.ts';
import type { Shell } from './shell.ts';

/** What `ssh` said when it could not log in; undefined if there is no `ssh` on this computer. */
export type OpenSshRefusal = { readonly refused: readonly string[] | undefined };

/** A login by `ssh`, whose connection all commands share where OpenSSH can do that. */
type OpenSshLogin = {
  readonly folder: string;
  readonly argv: readonly string[];
  readonly master: ChildProcessWithoutNullStreams;
  readonly hasEnded: () => boolean;
};

/** Written by the remote command that holds the connection open, once the login is complete. */
const READY = 'slipway-login-complete';

/** How long a broken connection takes to end the `ssh` that holds it, also on a busy computer. */
const LOST_CONNECTION_MS = 3000;

/** How long an `ssh` takes to end after it has closed its sockets. */
const SSH_EXIT_MS = 100;

const QUIET_FLAGS: readonly string[] = sshFlagsFor([
  ['BatchMode', 'yes'],
  ['ConnectTimeout', String(CONNECT_SECONDS)],
  ['RemoteCommand', 'none'],
  ['RequestTTY', 'no'],
  ['PermitLocalCommand', 'no'],
  ['ClearAllForwardings', 'yes'],
  ['ForwardAgent', 'no'],
  ['ForwardX11', 'no'],
  ['ServerAliveInterval', '5'],
  ['ServerAliveCountMax', '3'],
]);

/**
 * Logs in to a target whose host keys, and those of its jump host, are in `target`. Returns the words of `ssh` if it
 * could not log in either. Throws CANCELED if the user canceled.
 */
export async function openOpenSshSession(
  target: SshTarget,
  options: SshClientOptions,
): Promise<SshSession | OpenSshRefusal> {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-ssh-'));
  try {
    const login = await logIn(target, folder, options);
    if ('refused' in login) await deleteFolder(folder);
    return 'refused' in login ? login : createSession(login, target, options);
  } catch (error) {
    await deleteFolder(folder);
    throw error;
  }
}

async function logIn(
  target: SshTarget,
  folder: string,
  options: SshClientOptions,
): Promise<OpenSshLogin | OpenSshRefusal> {
  const flags = [...QUIET_FLAGS, ...(await userFlags(target, options))];
  const argv = [...flags, ...(await routeFlags(target, folder, flags)), ...sharingFlags(folder, options)];
  const master = startSsh([...argv, target.address, `echo ${READY}; exec cat`], options);
  const problem = await waitForLogin(master, options.signal);
  if (problem) return problem;
  let ended = false;
  // Each transfer adds a listener; without this, Node warns the user of a leak after ten.
  master.setMaxListeners(0);
  master.once('exit', () => (ended = true));
  return { folder, argv, master, hasEnded: () => ended || master.exitCode !== null };
}

/** Resolves with undefined when the login is complete, with what `ssh` said when it ends before. */
function waitForLogin(
  master: ChildProcessWithoutNullStreams,
  signal: AbortSignal,
): Promise<OpenSshRefusal | undefined> {
  return new Promise((resolve, reject) => {
    const onLine = (line: string): void => {
      if (line === READY) settle(() => resolve(undefined));
    };
    const said = [master.stdout, master.stderr].map((stream) => collectOutput(stream, onLine));
    const stop = (): void => {
      master.kill('SIGTERM');
      settle(() => reject(canceledError()));
    };
    const settle = (act: () => void): void => {
      signal.removeEventListener('abort', stop);
      act();
    };
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    master.once('error', () => settle(() => resolve({ refused: undefined })));
    master.once('close', () => settle(() => resolve({ refused: said.flatMap((text) => linesOf(text())) })));
  });
}

function createSession(login: OpenSshLogin, target: SshTarget, options: SshClientOptions): SshSession {
  return {
    hostKey: target.hostKey ?? '',
    jumpHostKey: target.jump?.hostKey,
    exec: (command, how) => runCommand(login, command, how, target, options),
    connectTcp: createTcpConnector(login, target, options),
    startCommand: async (command, label) => startCommand(login, command, label, target, options),
    closed: new Promise((resolve) => {
      if (login.hasEnded()) resolve();
      else login.master.once('exit', () => resolve());
    }),
    drop: () => void login.master.kill('SIGKILL'),
    async [Symbol.asyncDispose]() {
      await endLogin(login);
    },
  };
}

/** Ends the command that holds the connection open, and with it the connection. */
async function endLogin({ master, folder, hasEnded }: OpenSshLogin): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    master.once('exit', () => resolve());
  });
  master.stdin.end();
  const timer = setTimeout(() => master.kill('SIGKILL'), 2000);
  if (!hasEnded()) await ended;
  clearTimeout(timer);
  await deleteFolder(folder);
}

function runCommand(
  { argv, master, hasEnded }: OpenSshLogin,
  command: Shell,
  { label, stdin, onLine }: ExecOptions,
  target: SshTarget,
  options: SshClientOptions,
): Promise<ExecResult> {
  const { signal, debug } = options;
  const startedAt = performance.now();
  return new Promise<ExecResult>((resolve, reject) => {
    if (signal.aborted) return reject(canceledError());
    if (hasEnded()) return reject(connectionLostError(target, label));
    const child = startSsh([...argv, target.address, command], options);
    const stop = (): void => void child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    const stdout = collectOutput(child.stdout, onLine);
    const stderr = collectOutput(child.stderr, onLine);
    child.stdin.end(stdin ?? '');
    child.once('error', () => reject(connectionLostError(target, label)));
    child.once('close', (code) => {
      signal.removeEventListener('abort', stop);
      if (signal.aborted) return reject(canceledError());
      if (code === null) return reject(connectionLostError(target, label));
      const settle = (): void => {
        if (code === 255 && hasEnded()) return reject(connectionLostError(target, label));
        const seconds = ((performance.now() - startedAt) / 1000).toFixed(2);
        debug(`ssh ${target.address} [${label}] ${command} -> exit ${code} in ${seconds} s`);
        resolve({ code, stdout: stdout(), stderr: stderr() });
      };
      if (code !== 255 || hasEnded()) return settle();
      // ssh ends with 255 when the connection breaks, and so may the command itself. If it broke, the shared connection
      // ends at about the same time.
      const timer = setTimeout(settle, LOST_CONNECTION_MS);
      master.once('exit', () => {
        clearTimeout(timer);
        settle();
      });
    });
  });
}

function startCommand(
  { argv, master, hasEnded }: OpenSshLogin,
  command: Shell,
  label: string,
  target: SshTarget,
  options: SshClientOptions,
): RemoteCommand {
  if (hasEnded()) throw connectionLostError(target, label);
  options.debug(`ssh ${target.address} [${label}] ${command}`);
  const child = startSsh([...argv, target.address, command], options);
  const stderr = collectOutput(child.stderr);
  const stream = Duplex.from({ readable: child.stdout, writable: child.stdin });
  const onLost = (): void => void stream.destroy(connectionLostError(target, label));
  master.once('exit', onLost);
  stream.once('close', () => child.kill('SIGTERM'));
  const ended = new Promise<Awaited<RemoteCommand['ended']>>((resolve) => {
    child.once('error', () => onLost());
    child.once('close', (code) => {
      master.removeListener('exit', onLost);
      resolve({ code: code === null || hasEnded() ? undefined : code, stderr: stderr() });
    });
  });
  return { stream, ended };
}

/**
 * Returns a function that connects to the host's ports. The `ssh` that holds the connection listens on a socket for
 * each port: `ssh -W` would not tell when one side alone ends, and start a process for each connection.
 */
function createTcpConnector(
  { folder, master, hasEnded }: OpenSshLogin,
  target: SshTarget,
  options: SshClientOptions,
): SshSession['connectTcp'] {
  const sockets = new Map<string, Promise<string>>();
  const listen = async (place: string): Promise<string> => {
    const socket = join(folder, String(sockets.size));
    const flags = ['-F', 'none', '-S', join(folder, 's'), '-O', 'forward', '-L', `${socket}:${place}`, target.address];
    const child = startSsh(flags, options);
    const said = collectOutput(child.stderr);
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw forwardingRefusedError(target, linesOf(said()).at(-1) ?? 'ssh forwarded no port');
    return socket;
  };
  return async ({ address, port }) => {
    if (options.platform === 'win32') throw forwardingRefusedError(target, 'OpenSSH on Windows shares no connection');
    if (hasEnded()) throw connectionLostError(target, 'a transfer');
    const place = `${address.includes(':') ? `[${address}]` : address}:${port}`;
    const listening = sockets.get(place) ?? listen(place);
    sockets.set(place, listening);
    listening.catch(() => sockets.delete(place));
    const socket = connect({ path: await listening, allowHalfOpen: true });
    await once(socket, 'connect');
    const onLost = (): void => void stream.destroy(connectionLostError(target, 'a transfer'));
    const readable = readUntilLost(socket, () => hasEnded() && connectionLostError(target, 'a transfer'));
    const stream = Duplex.from({ readable, writable: socket });
    master.once('exit', onLost);
    return stream.once('close', () => {
      master.removeListener('exit', onLost);
      socket.destroy();
    });
  };
}

/** Reads what the host sends. An `ssh` that loses the connection closes its sockets a moment before it ends. */
async function* readUntilLost(socket: Socket, findProblem: () => SlipwayError | false): AsyncGenerator<Buffer> {
  yield* socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  await sleep(SSH_EXIT_MS);
  const problem = findProblem();
  if (problem) throw problem;
}

/** Connections through a jump host that `ssh` logs in to. `words` is what `ssh` said; `end` closes them. */
export type OpenSshTunnels = {
  openSocket(): Duplex;
  hasFailed(): boolean;
  words(): readonly string[];
  end(): Promise<void>;
};

/** Prepares connections to the target through a jump host, whose host key is in `jump`, by `ssh -W`. */
export async function openOpenSshTunnels(
  jump: SshHop,
  target: SshTarget,
  options: SshClientOptions,
): Promise<OpenSshTunnels> {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-ssh-'));
  const via: SshTarget = { ...jump, ...(target.keyFile === undefined ? {} : { keyFile: target.keyFile }) };
  const flags = [...QUIET_FLAGS, ...(await userFlags(via, options))];
  const address = target.address.includes(':') ? `[${target.address}]` : target.address;
  const argv = [...flags, ...(await routeFlags(via, folder, flags)), '-W', `${address}:${target.port}`, jump.address];
  const children: ChildProcess[] = [];
  const texts: (() => string)[] = [];
  return {
    openSocket() {
      const child = startSsh(argv, options);
      children.push(child);
      texts.push(collectOutput(child.stderr));
      const socket = Duplex.from({ readable: child.stdout, writable: child.stdin });
      child.once('error', () => socket.destroy());
      return socket;
    },
    hasFailed: () => children.some(({ exitCode }) => exitCode !== null && exitCode !== 0),
    words: () => texts.flatMap((text) => linesOf(text())),
    async end() {
      for (const child of children) child.kill('SIGTERM');
      await deleteFolder(folder);
    },
  };
}

function startSsh(argv: readonly string[], options: SshClientOptions): ChildProcessWithoutNullStreams {
  const child = spawn(locateProgram('ssh', options.env), argv, {
    stdio: 'pipe',
    env: childEnvironment(options),
    windowsHide: true,
  });
  // EPIPE: ssh, or the command, ended without reading all of its input. Its exit status says why.
  child.stdin.on('error', () => {});
  return child;
}

function linesOf(text: string): readonly string[] {
  return text.split(/\r?\n/).filter((line) => line.trim() !== '');
}

/** Returns the host keys of a host that the SSH library can't talk to, as known_hosts lines without the host's name. */
export function scanHostKeys(
  { address, port }: SshHop,
  { env }: Pick<SshClientOptions, 'env'>,
): Promise<readonly string[]> {
  return new Promise((resolve) => {
    execFile(locateProgram('ssh-keyscan', env), ['-T', '10', '-p', String(port), '--', address], (_error, stdout) => {
      const lines = stdout.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#'));
      resolve(lines.map((line) => line.split(' ').slice(1, 3).join(' ')));
    });
  });
}

/** Returns the flags with the address, the user, the key and the verified host keys of a route. */
async function routeFlags(
  target: SshTarget,
  folder: string,
  jumpArguments: readonly string[],
): Promise<readonly string[]> {
  const knownHosts = join(folder, 'known_hosts');
  await writeFile(knownHosts, formatKnownHosts(target), { mode: 0o600 });
  return sshFlagsFor(sshOptionsFor({ target, knownHosts, jumpArguments }));
}

/** Returns the flags that make commands share the connection. OpenSSH on Windows can't share one. */
function sharingFlags(folder: string, { platform }: SshClientOptions): readonly string[] {
  if (platform === 'win32') return ['-o', 'ControlMaster=no', '-o', 'ControlPath=none'];
  return ['-o', 'ControlMaster=auto', '-o', `ControlPath=${join(folder, 's')}`, '-o', 'ControlPersist=no'];
}

/** ssh finds its files in the home folder of the user database. This makes it use those of HOME, if that is another. */
async function userFlags({ keyFile }: SshTarget, { userHome }: SshClientOptions): Promise<readonly string[]> {
  if (userHome === userInfo().homedir) return [];
  const paths = ['config', 'id_rsa', 'id_ecdsa', 'id_ecdsa_sk', 'id_ed25519', 'id_ed25519_sk'].map((name) =>
    join(userHome, '.ssh', name),
  );
  const [config, ...keys] = await Promise.all(
    paths.map(async (path) => ((await stat(path).catch(() => undefined))?.isFile() === true ? path : undefined)),
  );
  const identities = keyFile === undefined ? keys.filter((path): path is string => path !== undefined) : [];
  return ['-F', config ?? 'none', ...sshFlagsFor(identities.map((path) => ['IdentityFile', quoteLiteral(path)]))];
}

function childEnvironment({ agentSocket, env }: SshClientOptions): NodeJS.ProcessEnv {
  const { SSH_AUTH_SOCK: _socket, ...rest } = env;
  return { ...rest, ...(agentSocket === undefined ? {} : { SSH_AUTH_SOCK: agentSocket }) };
}

/** Returns whether this is the refusal of a login that `ssh` attempted. */
export function isRefusal(outcome: SshSession | OpenSshRefusal): outcome is OpenSshRefusal {
  return 'refused' in outcome;
}

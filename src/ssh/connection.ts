import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import ssh2, { type AnyAuthMethod, type ClientChannel, type ConnectConfig } from 'ssh2';
import { canceledError, SlipwayError, systemCode } from '../errors.ts';
import { toDuplex } from './channel-stream.ts';
import { collectOutput } from './command-output.ts';
import {
  closedDuringLoginError,
  connectError,
  connectionLostError,
  CONNECT_SECONDS,
  hostKeyMissingError,
  hostKeyRefusedError,
  isForOpenSsh,
  openSshRefusedError,
  tunnelError,
  unreadableKeyError,
  unusableKeyError,
  type OfferedKeys,
  type SshClientError,
} from './connection-errors.ts';
import { verifyHostKey, toPublicKeyLine, type HostKeyExpectation, type HostKeyVerdict } from './host-key.ts';
import type { SshHop, SshTarget } from '../machine/model.ts';
import { connectPacketSocket } from './packet-socket.ts';
import type { ExecOptions, ExecResult, RemoteCommand, SshClientOptions, SshSession } from './session.ts';
import type { Shell } from './shell.ts';
import { findKnownKeys } from './user-known-hosts.ts';

export type { ExecResult, RemoteCommand, SshClientOptions, SshSession } from './session.ts';

/** A key pair in OpenSSH's formats: a private key file, and a line of an authorized_keys file. */
export type KeyPair = { readonly private: string; readonly public: string };

/** Receives the accepted host key of each hop, before anything else is sent to that hop. */
export type HostKeyListener = (hop: SshHop, key: string, verdict: HostKeyVerdict) => void;

export type ConnectSsh = (
  target: SshTarget,
  options: SshClientOptions,
  onHostKey: HostKeyListener,
) => Promise<SshSession>;

/** Detects a dead connection after 15 s of silence, however long the command on it takes. */
const KEEPALIVE = { keepaliveInterval: 5_000, keepaliveCountMax: 3 };

/**
 * Connects to a host and logs in, through its jump host if it has one. If the SSH library can't, the user's own `ssh`
 * does, with the host keys that were accepted.
 */
export const connectSsh: ConnectSsh = async (target, options, onHostKey) => {
  const startedAt = performance.now();
  const identities = await loadIdentities(target, options);
  const acceptedKeys = new Map<SshHop, string>();
  const login: LoginContext = {
    identities,
    options,
    onHostKey(hop, key, verdict) {
      acceptedKeys.set(hop, key);
      onHostKey(hop, key, verdict);
    },
  };
  const jump = target.jump && (await connectToJumpHost(target.jump, target, login, acceptedKeys));
  try {
    const connection = await connectHop(target, login, async () => jump?.openSocket());
    options.debug(`ssh ${target.user}@${target.address}:${target.port} connected in ${formatElapsed(startedAt)}`);
    return createSession(connection, jump, target, options);
  } catch (error) {
    const jumpProblem = jump?.findProblem();
    await jump?.end();
    if (jumpProblem !== undefined) throw jumpProblem;
    if (!options.allowOpenSsh || !isForOpenSsh(error)) throw error;
    // Through a jump host, the target's key can't be scanned before the login.
    const hasKey =
      acceptedKeys.has(target) ||
      (jump === undefined ? await acceptScannedKey(target, login) : target.hostKey !== undefined);
    if (!hasKey) throw error;
    return await logInWithOpenSsh(withHostKeys(target, acceptedKeys), options, error);
  }
};

/** Logs in with the user's own `ssh`. If it can't either, throws the library's error with the words of `ssh`. */
async function logInWithOpenSsh(
  target: SshTarget,
  options: SshClientOptions,
  error: SlipwayError,
): Promise<SshSession> {
  const { openOpenSshSession, isRefusal } = await import('./openssh-session.ts');
  options.debug(`ssh ${target.address}: ${error.message}. Trying OpenSSH`);
  const outcome = await openOpenSshSession(target, options);
  if (!isRefusal(outcome)) return outcome;
  throw openSshRefusedError(error, target, outcome.refused);
}

function withHostKeys(target: SshTarget, keys: ReadonlyMap<SshHop, string>): SshTarget {
  const withKey = <H extends SshHop>(hop: H): H => {
    const key = keys.get(hop);
    return key === undefined ? hop : { ...hop, hostKey: key };
  };
  const { jump } = target;
  return { ...withKey(target), ...(jump === undefined ? {} : { jump: withKey(jump) }) };
}

/**
 * Asks a host for its keys with ssh-keyscan, for hosts with which the SSH library has no key exchange in common.
 * Returns whether a key was accepted; throws HOST_KEY if none of them may be.
 */
async function acceptScannedKey(hop: SshHop, { options, onHostKey }: LoginContext): Promise<boolean> {
  const { scanHostKeys } = await import('./openssh-session.ts');
  const keys = await scanHostKeys(hop, options);
  const expectation = await hostKeyExpectationFor(hop, options);
  const verdicts = keys.map((key) => ({ key, verdict: verifyHostKey(key, expectation) }));
  const accepted =
    verdicts.find(({ verdict }) => verdict.verdict === 'accepted') ??
    // The key that ssh would prefer.
    ['ssh-ed25519', 'ecdsa', ''].flatMap((type) =>
      verdicts.filter(({ key, verdict }) => verdict.verdict === 'first-seen' && key.startsWith(type)),
    )[0];
  if (accepted !== undefined) {
    onHostKey(hop, accepted.key, accepted.verdict);
    return true;
  }
  const [refused] = verdicts;
  if (refused?.verdict.verdict === 'refused') throw hostKeyRefusedError(hop, refused.key, refused.verdict);
  return false;
}

/** A connection to a jump host. */
type JumpConnection = {
  readonly key: string;
  /** Opens a connection from the jump host to the target. */
  openSocket(): Promise<Duplex>;
  /** Returns why no connection can be opened, if that is known only after the attempt. */
  findProblem(): SlipwayError | undefined;
  end(): Promise<void>;
};

async function connectToJumpHost(
  jump: SshHop,
  target: SshTarget,
  login: LoginContext,
  acceptedKeys: ReadonlyMap<SshHop, string>,
): Promise<JumpConnection> {
  try {
    const { client, key } = await connectHop(jump, login, async () => undefined);
    return {
      key,
      openSocket: () => openTunnel(client, target, login.options.signal),
      findProblem: () => undefined,
      async end() {
        client.end();
      },
    };
  } catch (error) {
    if (!login.options.allowOpenSsh || !isForOpenSsh(error)) throw error;
    if (!acceptedKeys.has(jump) && !(await acceptScannedKey(jump, login))) throw error;
    const key = acceptedKeys.get(jump) ?? '';
    const { openOpenSshTunnels } = await import('./openssh-session.ts');
    const tunnels = await openOpenSshTunnels({ ...jump, hostKey: key }, target, login.options);
    return {
      key,
      openSocket: async () => tunnels.openSocket(),
      findProblem: () => (tunnels.hasFailed() ? openSshRefusedError(error, jump, tunnels.words()) : undefined),
      end: () => tunnels.end(),
    };
  }
}

type SshConnection = { readonly client: ssh2.Client; readonly key: string };

/** What logging in to a hop needs. */
type LoginContext = {
  readonly identities: SshIdentities;
  readonly options: SshClientOptions;
  readonly onHostKey: HostKeyListener;
};

/**
 * Connects to one hop and logs in. If the user gave a bare fingerprint, tries each type of host key before it refuses:
 * a fingerprint does not tell the type of its key, and a host with several keys shows only one of the requested type.
 */
async function connectHop(
  hop: SshHop,
  login: LoginContext,
  openSocket: () => Promise<Duplex | undefined>,
): Promise<SshConnection> {
  const expectation = await hostKeyExpectationFor(hop, login.options);
  let refusal: SlipwayError | undefined;
  for (const algorithms of hostKeyAlgorithms(expectation)) {
    try {
      return await openConnection(hop, { ...login, expectation, algorithms, socket: await openSocket() });
    } catch (error) {
      if (!(error instanceof SlipwayError) || error.code !== 'HOST_KEY') throw error;
      refusal ??= error;
    }
  }
  throw refusal;
}

/** Returns what a host's key is compared with. Known keys count only if none is pinned and the user gave none. */
async function hostKeyExpectationFor(hop: SshHop, { userHome }: SshClientOptions): Promise<HostKeyExpectation> {
  const { hostKey: pinned, bootstrapHostKey: bootstrap, expectedKey: expected } = hop;
  const found = await findKnownKeys(hop, userHome);
  const known = pinned !== undefined || expected !== undefined ? [] : found.known;
  return { ...found, pinned, bootstrap, expected, known };
}

type ConnectAttempt = LoginContext & {
  readonly expectation: HostKeyExpectation;
  /** The types of host key to request. Empty: those that ssh2 requests by default. */
  readonly algorithms: readonly ssh2.ServerHostKeyAlgorithm[];
  /** A tunnel through the jump host; undefined for a direct connection. */
  readonly socket: Duplex | undefined;
};

/**
 * What a host showed before the login was complete: its key, with the verdict on it, messages for the user, and the
 * methods of logging in that it allows.
 */
type ShownByHost = {
  key: string;
  verdict: HostKeyVerdict | undefined;
  readonly messages: string[];
  methods: readonly string[] | undefined;
};

function openConnection(hop: SshHop, attempt: ConnectAttempt): Promise<SshConnection> {
  const { debug, signal } = attempt.options;
  const client = new ssh2.Client();
  const shown: ShownByHost = { key: '', verdict: undefined, messages: [], methods: undefined };
  return new Promise<SshConnection>((resolve, reject) => {
    const stop = (): void => {
      client.destroy();
      reject(canceledError());
    };
    // A host may close the connection during the login, which ssh2 does not report as an error: /etc/nologin exists
    // there, as while it boots, or sshd penalizes this computer's address.
    const failOnClose = (): void => {
      signal.removeEventListener('abort', stop);
      reject(closedDuringLoginError(hop, shown.messages));
    };
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    client.once('close', failOnClose);
    client.on('banner', (message: string) => shown.messages.push(message));
    client.once('ready', () => {
      signal.removeEventListener('abort', stop);
      client.removeAllListeners('error').removeListener('close', failOnClose);
      // From now on a lost connection emits `close`, which every command listens for.
      client.on('error', (error) => debug(`ssh ${hop.address}: ${error.message}`));
      resolve({ client, key: shown.key });
    });
    client.on('error', (error: SshClientError) => {
      // The agent ended and left its socket behind: ssh2 continues with the key files.
      if (error.level === 'agent') return debug(`ssh ${hop.address}: ${error.message}`);
      signal.removeEventListener('abort', stop);
      client.destroy();
      reject(toConnectError(error, hop, attempt, shown));
    });
    client.connect(connectConfigFor(hop, attempt, shown));
  });
}

function connectConfigFor(
  hop: SshHop,
  { identities, algorithms, socket, expectation, onHostKey }: ConnectAttempt,
  shown: ShownByHost,
): ConnectConfig {
  return {
    sock: socket ?? connectPacketSocket(hop.address, hop.port),
    username: hop.user,
    readyTimeout: CONNECT_SECONDS * 1000,
    ...KEEPALIVE,
    ...(algorithms.length > 0 ? { algorithms: { serverHostKey: [...algorithms] } } : {}),
    hostVerifier: (blob: Buffer) => {
      shown.key = toPublicKeyLine(blob);
      shown.verdict = verifyHostKey(shown.key, expectation);
      if (shown.verdict.verdict === 'refused') return false;
      onHostKey(hop, shown.key, shown.verdict);
      return true;
    },
    authHandler: authHandlerFor(identities.authMethods(hop.user), shown),
  };
}

/** Tries the methods in order, and records those that the host allows. */
function authHandlerFor(
  methods: readonly AnyAuthMethod[],
  shown: ShownByHost,
): NonNullable<ConnectConfig['authHandler']> {
  const left = [...methods];
  // @types/ssh2 wrongly requires a method, and knows no missing list of methods at the first call.
  return ((allowed: readonly string[] | null) => {
    shown.methods = allowed ?? shown.methods;
    return left.shift() ?? false;
  }) as unknown as NonNullable<ConnectConfig['authHandler']>;
}

function toConnectError(
  error: SshClientError,
  hop: SshHop,
  { identities, algorithms, expectation }: ConnectAttempt,
  { key, verdict, methods }: ShownByHost,
): SlipwayError {
  if (verdict?.verdict === 'refused') return hostKeyRefusedError(hop, key, verdict);
  const hasNoSuchKey = algorithms.length > 0 && /no matching host key/.test(error.message);
  return hasNoSuchKey ? hostKeyMissingError(hop, expectation) : connectError(hop, { ...identities, methods }, error);
}

const ECDSA = ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521'] as const;
const RSA = ['rsa-sha2-512', 'rsa-sha2-256'] as const;
const COMPARABLE_ALGORITHMS: ReadonlySet<string> = new Set(['ssh-ed25519', ...ECDSA, ...RSA]);

/**
 * Returns the types of host key to request, one array for each attempt. If the type of the expected key is known, only
 * that type is requested: a key of another type would be refused anyway.
 */
function hostKeyAlgorithms({
  pinned,
  expected,
  known,
}: HostKeyExpectation): readonly (readonly ssh2.ServerHostKeyAlgorithm[])[] {
  if (pinned === undefined && expected !== undefined && !expected.includes(' ')) return [[], ECDSA, RSA];
  const lines = pinned !== undefined ? [pinned] : expected !== undefined ? [expected] : known;
  const types = [...new Set(lines.map((line) => line.split(' ')[0] ?? ''))];
  const algorithms = types.flatMap((type) => (type === 'ssh-rsa' ? RSA : [type]));
  return [algorithms.filter((name): name is ssh2.ServerHostKeyAlgorithm => COMPARABLE_ALGORITHMS.has(name))];
}

/** Opens a connection from the jump host to the target. */
function openTunnel(client: ssh2.Client, target: SshHop, signal: AbortSignal): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(tunnelError(target, `no answer within ${CONNECT_SECONDS} s`)),
      CONNECT_SECONDS * 1000,
    );
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      client.removeListener('close', fail);
      act();
    };
    const stop = (): void => settle(() => reject(canceledError()));
    const fail = (): void => settle(() => reject(tunnelError(target, 'the jump host closed the connection')));
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    client.once('close', fail);
    client.forwardOut('127.0.0.1', 0, target.address, target.port, (error, channel) =>
      settle(() => {
        if (error) reject(tunnelError(target, error.message, error));
        else resolve(channel);
      }),
    );
  });
}

function createSession(
  { client, key }: SshConnection,
  jump: JumpConnection | undefined,
  target: SshTarget,
  options: SshClientOptions,
): SshSession {
  // Each command in progress adds a listener; without this, Node warns the user of a leak after ten.
  client.setMaxListeners(0);
  const streams = new Set<Duplex>();
  const closed = new Promise<void>((resolve) => {
    client.once('close', () => {
      // The library ends the channels of a lost connection as if the host had closed them, after this event.
      for (const stream of streams) stream.destroy(connectionLostError(target, 'a transfer'));
      resolve();
    });
  });
  const track = (channel: ClientChannel): Duplex => {
    const stream = toDuplex(channel);
    streams.add(stream);
    return stream.once('close', () => streams.delete(stream));
  };
  return {
    hostKey: key,
    jumpHostKey: jump?.key,
    closed,
    exec: (command, how) => runRemoteCommand(client, command, how, target, options),
    connectTcp: async ({ address, port }) =>
      await openChannel((onOpen) => client.forwardOut('127.0.0.1', 0, address, port, onOpen), track, target),
    async startCommand(command, label) {
      options.debug(`ssh ${target.address} [${label}] ${command}`);
      return await openChannel(
        (onOpen) => client.exec(command, onOpen),
        (channel) => ({ ended: waitForEnd(channel), stream: track(channel) }),
        target,
      );
    },
    drop: () => void client.destroy(),
    async [Symbol.asyncDispose]() {
      client.end();
      await jump?.end();
    },
  };
}

/** `reason` is the host's, if it refused the channel. */
type OnOpen = (error: (Error & { readonly reason?: unknown }) | undefined, channel: ClientChannel) => void;

/**
 * Opens a channel. Rejects with the library's error if the host refuses it, with SSH_LOST if the connection is lost.
 * `use` is called at once: what follows on the channel may have arrived already.
 */
function openChannel<T>(
  open: (onOpen: OnOpen) => void,
  use: (channel: ClientChannel) => T,
  target: SshTarget,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onOpen: OnOpen = (error, channel) => {
      if (!error) resolve(use(channel));
      else reject(typeof error.reason === 'number' ? error : connectionLostError(target, 'a transfer'));
    };
    try {
      open(onOpen);
    } catch {
      reject(connectionLostError(target, 'a transfer'));
    }
  });
}

function waitForEnd(channel: ClientChannel): RemoteCommand['ended'] {
  const stderr = collectOutput(channel.stderr);
  let code: number | undefined;
  channel.on('exit', (status: number | null) => (code = status ?? undefined));
  return new Promise((resolve) => {
    channel.once('close', () => resolve({ code, stderr: stderr() }));
  });
}

function runRemoteCommand(
  client: ssh2.Client,
  command: Shell,
  { label, stdin, onLine }: ExecOptions,
  target: SshTarget,
  { signal, debug }: SshClientOptions,
): Promise<ExecResult> {
  const startedAt = performance.now();
  const log = (text: string): void => debug(`ssh ${target.address} [${label}]${text}`);
  return new Promise<ExecResult>((resolve, reject) => {
    const settle = (act: () => void): void => {
      client.removeListener('close', fail);
      signal.removeEventListener('abort', stop);
      act();
    };
    const fail = (): void => settle(() => reject(connectionLostError(target, label)));
    const stop = (): void => {
      settle(() => reject(canceledError()));
      client.destroy();
    };
    if (signal.aborted) return stop();
    client.once('close', fail);
    signal.addEventListener('abort', stop, { once: true });
    const onStart = (error: Error | undefined, channel: ClientChannel): void => {
      if (error) return fail();
      collectResult(channel, onLine, (result) => {
        if (!result) return fail();
        log(` ${command} -> exit ${result.code} in ${formatElapsed(startedAt)}`);
        settle(() => resolve(result));
      });
      // EPIPE: the command ended without reading all of its input. Its exit code says why.
      channel.on('error', (failure: Error) => log(`: ${failure.message}`));
      channel.end(stdin ?? '');
    };
    try {
      client.exec(command, onStart);
    } catch (error) {
      log(`: ${String(error)}`);
      fail();
    }
  });
}

/** Calls `onClose` once the command's channel is closed, with undefined if it was closed before the command ended. */
function collectResult(
  channel: ClientChannel,
  onLine: ExecOptions['onLine'],
  onClose: (result: ExecResult | undefined) => void,
): void {
  const stdout = collectOutput(channel, onLine);
  const stderr = collectOutput(channel.stderr, onLine);
  let code: number | undefined;
  channel.on('exit', (status: number | null) => {
    // A null status means that a signal ended the command; shells report that as 128 or more.
    code = status ?? 255;
  });
  channel.on('close', () => onClose(code === undefined ? undefined : { code, stdout: stdout(), stderr: stderr() }));
}

type SshIdentities = OfferedKeys & { readonly authMethods: (username: string) => readonly AnyAuthMethod[] };

/** Loads the key file that the user specified, or else the files that OpenSSH tries; with both, the agent's keys. */
async function loadIdentities(
  target: SshTarget,
  { agentSocket, userHome, platform }: SshClientOptions,
): Promise<SshIdentities> {
  const { keys, locked, publicKey } = await readIdentityFiles(target.keyFile, userHome);
  const sources = [...(agentSocket === undefined ? [] : ['the SSH agent']), ...keys.map(({ path }) => path)];
  if (publicKey !== undefined) {
    return {
      description: `${publicKey} is a public key, and no agent has its private key`,
      locked,
      publicKey,
      hasAgent: agentSocket !== undefined,
      platform,
      // Only `ssh` selects one key of an agent.
      authMethods: (username) => [{ type: 'none', username }],
    };
  }
  return {
    description: sources.join(', ') || 'none',
    locked,
    hasAgent: agentSocket !== undefined,
    platform,
    authMethods(username) {
      const fromFiles = keys.map(({ text }): AnyAuthMethod => ({ type: 'publickey', username, key: text }));
      const fromAgent: AnyAuthMethod[] =
        agentSocket === undefined ? [] : [{ type: 'agent', username, agent: agentSocket }];
      // A server disconnects after a few wrong keys, so the key that the user specified goes first.
      const methods = target.keyFile === undefined ? [...fromAgent, ...fromFiles] : [...fromFiles, ...fromAgent];
      // This method succeeds nowhere, but its refusal says which methods the host allows.
      return methods.length > 0 ? methods : [{ type: 'none', username }];
    },
  };
}

type IdentityFiles = {
  readonly keys: readonly { readonly path: string; readonly text: Buffer }[];
  /** Files whose key has a passphrase. */
  readonly locked: readonly string[];
  /** The specified file, if it contains a public key. */
  readonly publicKey?: string;
};

/** Throws USAGE if the specified file can't be used. Of OpenSSH's usual files, those that can't be used are skipped. */
async function readIdentityFiles(keyFile: string | undefined, userHome: string): Promise<IdentityFiles> {
  const usualFiles = ['id_ed25519', 'id_ecdsa', 'id_rsa'].map((name) => join(userHome, '.ssh', name));
  const keys: { readonly path: string; readonly text: Buffer }[] = [];
  const locked: string[] = [];
  for (const path of keyFile === undefined ? usualFiles : [keyFile]) {
    const text = await readKeyFile(path, keyFile !== undefined);
    if (!text) continue;
    const problem = privateKeyProblem(text);
    if (problem === undefined) keys.push({ path, text });
    else if (/encrypted|passphrase/i.test(problem)) locked.push(path);
    else if (keyFile !== undefined && isPublicKey(text)) return { keys, locked, publicKey: path };
    else if (keyFile !== undefined && !isSecurityKey(text)) throw unusableKeyError(path, problem);
  }
  return { keys, locked };
}

function isPublicKey(text: Buffer): boolean {
  return /^(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/]+=*(\s|$)/.test(text.toString('latin1'));
}

/** Returns whether this is a private key of a security key, which only OpenSSH can use. */
function isSecurityKey(text: Buffer): boolean {
  const [, base64 = ''] = /^-----BEGIN OPENSSH PRIVATE KEY-----\s([^-]+)-/.exec(text.toString('latin1')) ?? [];
  return Buffer.from(base64, 'base64').toString('latin1').includes('sk-');
}

/** Returns why SSH can't use this text as a private key; undefined if it can. */
function privateKeyProblem(text: Buffer): string | undefined {
  const parsed = ssh2.utils.parseKey(text);
  if (parsed instanceof Error) return parsed.message;
  // A public key can be parsed too.
  return parsed.isPrivateKey() ? undefined : 'it is a public key';
}

async function readKeyFile(path: string, required: boolean): Promise<Buffer | undefined> {
  return readFile(path).catch((error: unknown) => {
    if (!required && systemCode(error) === 'ENOENT') return undefined;
    throw unreadableKeyError(path, error);
  });
}

function formatElapsed(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(2)} s`;
}

/**
 * Generates a key pair. ssh2 drops a leading zero from one key in 256, and no program can read such a key, so this
 * function generates another one in its place.
 */
export function generateKeyPair(comment: string): KeyPair {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment });
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

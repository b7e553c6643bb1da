import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import ssh2, { type AnyAuthMethod, type ClientChannel, type ConnectConfig } from 'ssh2';
import { canceledError, SlipwayError, systemCode } from '../errors.ts';
import {
  verifyHostKey,
  toPublicKeyLine,
  findKnownKeys,
  formatKey,
  type HostKeyExpectation,
  type HostKeyVerdict,
} from './host-key.ts';
import type { SshHop, SshTarget } from '../machine/model.ts';
import type { Shell } from './shell.ts';

/** How a remote command ended. A non-zero code is an answer, not an error: what it means is the caller's to say. */
export type ExecResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Two halves in OpenSSH's formats: its private key file, and the line of an authorized_keys. */
export type KeyPair = { readonly private: string; readonly public: string };

export type SshSession = AsyncDisposable & {
  /** The keys that this route showed, now pinned: first the target's, then the jump host's. */
  readonly hostKey: string;
  readonly jumpHostKey: string | undefined;
  /** Rejects only when the connection is lost (SSH_LOST) or the user stopped (CANCELED). */
  exec(
    command: Shell,
    how: { readonly label: string; readonly stdin?: string | Uint8Array; readonly onLine?: (line: string) => void },
  ): Promise<ExecResult>;
};

/** The user's side of a connection, and who wants to hear of it. */
export type SshClientOptions = {
  readonly userHome: string;
  /** SSH_AUTH_SOCK. */
  readonly agentSocket: string | undefined;
  readonly signal: AbortSignal;
  readonly debug: (line: string) => void;
};

/** Told of each hop's key before anything else is said over the connection. */
export type HostKeyListener = (hop: SshHop, key: string, judgement: HostKeyVerdict) => void;

export type ConnectSsh = (target: SshTarget, side: SshClientOptions, onHostKey: HostKeyListener) => Promise<SshSession>;

const CONNECT_SECONDS = 20;
/** A dead line is noticed after 15 s of silence, however long the command on it takes. */
const KEEPALIVE = { keepaliveInterval: 5_000, keepaliveCountMax: 3 };

export const connectSsh: ConnectSsh = async (target, side, onHostKey) => {
  const started = performance.now();
  const keys = await loadIdentities(target, side);
  const gate = target.jump && (await connectHop(target.jump, keys, side, onHostKey, async () => undefined));
  try {
    const line = await connectHop(
      target,
      keys,
      side,
      onHostKey,
      async () => gate && openTunnel(gate.client, target, side.signal),
    );
    side.debug(`ssh ${target.user}@${target.address}:${target.port} connected in ${formatElapsed(started)}`);
    return createSession(line.client, line.key, gate, target, side);
  } catch (error) {
    gate?.client.destroy();
    throw error;
  }
};

type SshConnection = { readonly client: ssh2.Client; readonly key: string };

/**
 * One hop, from the socket to the login. A bare fingerprint does not tell the kind of its key, and a host with several shows
 * the one that it is asked for: so before such a fingerprint is called wrong, the other kinds are asked for as well.
 */
async function connectHop(
  hop: SshHop,
  identities: SshIdentities,
  side: SshClientOptions,
  onHostKey: HostKeyListener,
  dial: () => Promise<Duplex | undefined>,
): Promise<SshConnection> {
  const asked = hop.hostKey !== undefined || hop.expectedKey !== undefined;
  const { known, revoked } = asked ? { known: [], revoked: [] } : await findKnownKeys(hop, side.userHome);
  const expectation = {
    pinned: hop.hostKey,
    bootstrap: hop.bootstrapHostKey,
    expected: hop.expectedKey,
    known,
    revoked,
  };
  let refusal: SlipwayError | undefined;
  for (const algorithms of hostKeyAlgorithms(expectation)) {
    try {
      return await openConnection(hop, { identities, side, onHostKey, expectation, algorithms, sock: await dial() });
    } catch (error) {
      if (!(error instanceof SlipwayError) || error.code !== 'HOST_KEY') throw error;
      refusal ??= error;
    }
  }
  throw refusal;
}

type ConnectAttempt = {
  readonly identities: SshIdentities;
  readonly side: SshClientOptions;
  readonly onHostKey: HostKeyListener;
  readonly expectation: HostKeyExpectation;
  /** None: whatever kind of host key ssh2 likes best. */
  readonly algorithms: readonly ssh2.ServerHostKeyAlgorithm[];
  readonly sock: Duplex | undefined;
};

function openConnection(
  hop: SshHop,
  { identities, side, onHostKey, expectation, algorithms, sock }: ConnectAttempt,
): Promise<SshConnection> {
  const client = new ssh2.Client();
  let key = '';
  let judgement: HostKeyVerdict | undefined;
  return new Promise<SshConnection>((resolve, reject) => {
    const stop = (): void => {
      client.destroy();
      reject(canceledError());
    };
    if (side.signal.aborted) return stop();
    side.signal.addEventListener('abort', stop, { once: true });
    client.once('ready', () => {
      side.signal.removeEventListener('abort', stop);
      client.removeAllListeners('error');
      // From here on a broken connection shows itself as `close`, which every command listens for.
      client.on('error', (error) => side.debug(`ssh ${hop.address}: ${error.message}`));
      resolve({ client, key });
    });
    client.on('error', (error: Error & { level?: string }) => {
      // The agent's socket outlived its agent: ssh2 goes on with the key files by itself.
      if (error.level === 'agent') return side.debug(`ssh ${hop.address}: ${error.message}`);
      side.signal.removeEventListener('abort', stop);
      client.destroy();
      if (judgement?.verdict === 'refused') reject(keyRefusedError(hop, key, judgement.wanted));
      else if (algorithms.length > 0 && /no matching host key/.test(error.message))
        reject(keyMissingError(hop, expectation));
      else reject(connectError(hop, identities, error));
    });
    client.connect({
      ...(sock ? { sock } : { host: hop.address, port: hop.port }),
      username: hop.user,
      readyTimeout: CONNECT_SECONDS * 1000,
      ...KEEPALIVE,
      ...(algorithms.length > 0 ? { algorithms: { serverHostKey: [...algorithms] } } : {}),
      hostVerifier: (blob: Buffer) => {
        key = toPublicKeyLine(blob);
        judgement = verifyHostKey(key, expectation);
        if (judgement.verdict !== 'refused') onHostKey(hop, key, judgement);
        return judgement.verdict !== 'refused';
      },
      // @types/ssh2 lacks the array form of authHandler, which ssh2 documents.
      authHandler: identities.authMethods(hop.user) as unknown as NonNullable<ConnectConfig['authHandler']>,
    });
    // What is said is short and answered: held back for more, as TCP does, each message waits for the other side's delayed ACK, 40 ms.
    client.setNoDelay(true);
  });
}

const ECDSA = ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521'] as const;
const RSA = ['rsa-sha2-512', 'rsa-sha2-256'] as const;
const COMPARABLE_ALGORITHMS: ReadonlySet<string> = new Set(['ssh-ed25519', ...ECDSA, ...RSA]);

/**
 * The kinds of host key to ask for, one attempt a row: the kind that we can compare with, where we know it, since with a key to
 * compare with any other kind would be refused anyway.
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

function openTunnel(client: ssh2.Client, { address, port }: SshHop, signal: AbortSignal): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const failed = (why: string, cause?: unknown): void =>
      reject(
        new SlipwayError('SSH_UNREACHABLE', `The jump host could not reach ${address}:${port}: ${why}`, {
          hint: 'Check the address as seen from the jump host, and that it allows TCP forwarding',
          cause,
        }),
      );
    const timer = setTimeout(() => failed(`no answer within ${CONNECT_SECONDS} s`), CONNECT_SECONDS * 1000);
    const stop = (): void => {
      clearTimeout(timer);
      reject(canceledError());
    };
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    client.forwardOut('127.0.0.1', 0, address, port, (error, channel) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      if (error) failed(error.message, error);
      else resolve(channel);
    });
  });
}

function createSession(
  client: ssh2.Client,
  hostKey: string,
  gate: SshConnection | undefined,
  target: SshTarget,
  side: SshClientOptions,
): SshSession {
  return {
    hostKey,
    jumpHostKey: gate?.key,
    exec: (command, how) => runRemoteCommand(client, command, how, target, side),
    async [Symbol.asyncDispose]() {
      client.end();
      gate?.client.end();
    },
  };
}

function runRemoteCommand(
  client: ssh2.Client,
  command: Shell,
  { label, stdin, onLine }: Parameters<SshSession['exec']>[1],
  target: SshTarget,
  { signal, debug }: SshClientOptions,
): Promise<ExecResult> {
  const started = performance.now();
  return new Promise<ExecResult>((resolve, reject) => {
    const settle = (act: () => void): void => {
      client.removeListener('close', lost);
      signal.removeEventListener('abort', stop);
      act();
    };
    const lost = (): void => settle(() => reject(connectionLostError(target, label)));
    const stop = (): void => {
      settle(() => reject(canceledError()));
      client.destroy();
    };
    if (signal.aborted) return stop();
    client.once('close', lost);
    signal.addEventListener('abort', stop, { once: true });
    const running = (error: Error | undefined, channel: ClientChannel): void => {
      if (error) return lost();
      const stdout = collectOutput(channel, onLine);
      const stderr = collectOutput(channel.stderr, onLine);
      let code: number | undefined;
      channel.on('exit', (status: number | null) => {
        // A null status is death by a signal, for which shells use 128 and more.
        code = status ?? 255;
      });
      channel.on('close', () => {
        if (code === undefined) return lost();
        debug(`ssh ${target.address} [${label}] ${command} -> exit ${code} in ${formatElapsed(started)}`);
        const ended = { code, stdout: stdout(), stderr: stderr() };
        settle(() => resolve(ended));
      });
      // EPIPE: the command ended without reading all of it; its exit code tells why.
      channel.on('error', (failure: Error) => debug(`ssh ${target.address} [${label}]: ${failure.message}`));
      channel.end(stdin ?? '');
    };
    try {
      client.exec(command, running);
    } catch (error) {
      debug(`ssh ${target.address} [${label}]: ${String(error)}`);
      lost();
    }
  });
}

/** Keeps the text; hands out whole lines as they come, the last of a line's carriage returns being what a terminal shows. */
function collectOutput(stream: NodeJS.ReadableStream, onLine: ((line: string) => void) | undefined): () => string {
  let text = '';
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    text += chunk;
    if (!onLine) return;
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line.trimEnd().split('\r').at(-1) ?? '');
  });
  return () => text;
}

type SshIdentities = {
  readonly authMethods: (username: string) => readonly AnyAuthMethod[];
  readonly description: string;
  readonly locked: readonly string[];
};

/** The key that was named, else the agent's keys, then the files that OpenSSH tries. */
async function loadIdentities(target: SshTarget, { agentSocket, userHome }: SshClientOptions): Promise<SshIdentities> {
  const usual = ['id_ed25519', 'id_ecdsa', 'id_rsa'].map((name) => join(userHome, '.ssh', name));
  const files = target.keyFile === undefined ? usual : [target.keyFile];
  const keys: { readonly path: string; readonly text: Buffer }[] = [];
  const locked: string[] = [];
  for (const path of files) {
    const text = await readKeyFile(path, target.keyFile !== undefined);
    if (!text) continue;
    const parsed = ssh2.utils.parseKey(text);
    // A public key parses as well.
    const unusable =
      parsed instanceof Error ? parsed.message : parsed.isPrivateKey() ? undefined : 'it is the public half';
    if (unusable === undefined) keys.push({ path, text });
    else if (/encrypted|passphrase/i.test(unusable)) locked.push(path);
    else if (target.keyFile !== undefined) {
      throw new SlipwayError('USAGE', `${path} is not a private key that SSH can use: ${unusable}`, {
        hint: CHECK_KEY_HINT,
      });
    }
  }
  const named = [...(agentSocket === undefined ? [] : ['the SSH agent']), ...keys.map(({ path }) => path)];
  return {
    description: named.join(', ') || 'none',
    locked,
    authMethods(username) {
      const byFile = keys.map(({ text }): AnyAuthMethod => ({ type: 'publickey', username, key: text }));
      const byAgent: AnyAuthMethod[] =
        agentSocket === undefined ? [] : [{ type: 'agent', username, agent: agentSocket }];
      // A server hangs up after a few wrong keys, so the one that the user named goes first.
      return target.keyFile === undefined ? [...byAgent, ...byFile] : [...byFile, ...byAgent];
    },
  };
}

const CHECK_KEY_HINT = 'Name a private key file with --generic-ssh-key';

async function readKeyFile(path: string, required: boolean): Promise<Buffer | undefined> {
  return readFile(path).catch((error: unknown) => {
    if (!required && systemCode(error) === 'ENOENT') return undefined;
    const why = systemCode(error) === 'ENOENT' ? 'the file does not exist' : (error as Error).message;
    throw new SlipwayError('USAGE', `The SSH key ${path} can't be read: ${why}`, {
      hint: CHECK_KEY_HINT,
      cause: error,
    });
  });
}

function keyRefusedError(hop: SshHop, offered: string, wanted: readonly string[]): SlipwayError {
  return new SlipwayError(
    'HOST_KEY',
    `${hop.address} showed the host key ${formatKey(offered)}, ${wanted.length === 0 ? 'which your known_hosts has revoked' : `not ${wanted.map(formatKey).join(' or ')}`}`,
    {
      hint: newKeyHint(keyFileKind(offered)),
    },
  );
}

/** A key of the kind that we know is no longer, or never was, among the host's. */
function keyMissingError(hop: SshHop, { pinned, expected, known }: HostKeyExpectation): SlipwayError {
  const wanted = [pinned ?? expected ?? known].flat();
  return new SlipwayError(
    'HOST_KEY',
    `${hop.address} has no host key of the kind of ${wanted.map(formatKey).join(' or ')}`,
    {
      hint: newKeyHint('*'),
    },
  );
}

function newKeyHint(kind: string): string {
  return `Another host may be impersonating it. If the host does have a new key, show its fingerprint there: ssh-keygen -lf /etc/ssh/ssh_host_${kind}_key.pub, then pass it with --generic-host-key (for a jump host: --generic-ssh-jump-host-key)`;
}

function keyFileKind(key: string): string {
  return /ecdsa/.test(key) ? 'ecdsa' : /rsa/.test(key) ? 'rsa' : 'ed25519';
}

function connectionLostError(target: SshTarget, label: string): SlipwayError {
  return new SlipwayError('SSH_LOST', `The SSH connection to ${target.address} broke while this ran: ${label}`, {
    hint: 'To continue, run the same command again',
  });
}

function connectError(hop: SshHop, keys: SshIdentities, error: Error & { level?: string }): SlipwayError {
  const where = `${hop.address}:${hop.port}`;
  if (error.level === 'client-authentication') {
    const locked = keys.locked.length > 0 ? `; ${keys.locked.join(', ')} has a passphrase` : '';
    return new SlipwayError(
      'SSH_REFUSED',
      `${hop.user}@${where} accepted none of the keys offered (${keys.description}${locked})`,
      {
        hint:
          keys.locked.length > 0
            ? `Unlock it into the agent: ssh-add ${keys.locked[0]}`
            : `Name the right key with --generic-ssh-key and the right user with --generic-ssh-user, or install yours: ssh-copy-id -p ${hop.port} ${hop.user}@${hop.address}`,
        cause: error,
      },
    );
  }
  const reasons: Record<string, string> = {
    ECONNREFUSED: 'nothing listens there',
    EHOSTUNREACH: 'there is no route to it',
    ENETUNREACH: 'there is no network to it',
    ETIMEDOUT: 'no answer',
    ENOTFOUND: 'no such host name',
    EAI_AGAIN: 'the name could not be looked up',
    ECONNRESET: 'it hung up',
  };
  const why =
    error.level === 'client-timeout'
      ? `no answer within ${CONNECT_SECONDS} s`
      : (reasons[systemCode(error) ?? ''] ?? error.message);
  return new SlipwayError('SSH_UNREACHABLE', `${where} can't be reached over SSH: ${why}`, {
    hint: `Check the address and port, that the host is up, and that a firewall lets you in: ssh -p ${hop.port} ${hop.user}@${hop.address}`,
    cause: error,
  });
}

function formatElapsed(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(2)} s`;
}

/** Of one key in 256 the library drops a leading zero, and nobody can read it: such a one is made again. */
export function generateKeyPair(comment: string): KeyPair {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment });
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import ssh2, { type AnyAuthMethod, type ClientChannel, type ConnectConfig } from 'ssh2';
import { canceled, SlipwayError, systemCode } from '../errors.ts';
import { judgeHostKey, keyLine, knownKeys, shownKey, type Expectation, type Judgement } from './host-key.ts';
import type { SshHop, SshTarget } from '../machine/model.ts';
import type { Shell } from './shell.ts';

/** How a remote command ended. A non-zero code is an answer, not an error: what it means is the caller's to say. */
export type Exit = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Two halves in OpenSSH's formats: its private key file, and the line of an authorized_keys. */
export type KeyPair = { readonly private: string; readonly public: string };

export type SshSession = AsyncDisposable & {
  /** The keys that this route showed, now pinned: first the target's, then the jump host's. */
  readonly hostKey: string;
  readonly jumpKey: string | undefined;
  /** Rejects only when the connection is lost (SSH_LOST) or the user stopped (CANCELED). */
  exec(
    command: Shell,
    how: { readonly label: string; readonly stdin?: string | Uint8Array; readonly onLine?: (line: string) => void },
  ): Promise<Exit>;
};

/** The user's side of a connection, and who wants to hear of it. */
export type SshClientSide = {
  readonly userHome: string;
  /** SSH_AUTH_SOCK. */
  readonly agent: string | undefined;
  readonly signal: AbortSignal;
  readonly debug: (line: string) => void;
};

/** Told of each hop's key before anything else is said over the connection. */
export type OnHostKey = (hop: SshHop, key: string, judgement: Judgement) => void;

export type Connect = (target: SshTarget, side: SshClientSide, onHostKey: OnHostKey) => Promise<SshSession>;

const CONNECT_SECONDS = 20;
/** A dead line is noticed after 15 s of silence, however long the command on it takes. */
const KEEPALIVE = { keepaliveInterval: 5_000, keepaliveCountMax: 3 };

export const connect: Connect = async (target, side, onHostKey) => {
  const started = performance.now();
  const keys = await identities(target, side);
  const gate = target.jump && (await openHop(target.jump, keys, side, onHostKey, async () => undefined));
  try {
    const line = await openHop(
      target,
      keys,
      side,
      onHostKey,
      async () => gate && through(gate.client, target, side.signal),
    );
    side.debug(`ssh ${target.user}@${target.address}:${target.port} connected in ${elapsed(started)}`);
    return sessionOn(line.client, line.key, gate, target, side);
  } catch (error) {
    gate?.client.destroy();
    throw error;
  }
};

type Line = { readonly client: ssh2.Client; readonly key: string };

/**
 * One hop, from the socket to the login. A bare fingerprint does not tell the kind of its key, and a host with several shows
 * the one that it is asked for: so before such a fingerprint is called wrong, the other kinds are asked for as well.
 */
async function openHop(
  hop: SshHop,
  keys: Identities,
  side: SshClientSide,
  onHostKey: OnHostKey,
  dial: () => Promise<Duplex | undefined>,
): Promise<Line> {
  const asked = hop.hostKey !== undefined || hop.expectedKey !== undefined;
  const { known, revoked } = asked ? { known: [], revoked: [] } : await knownKeys(hop, side.userHome);
  const expectation = { pinned: hop.hostKey, birth: hop.birthKey, expected: hop.expectedKey, known, revoked };
  let refusal: SlipwayError | undefined;
  for (const algorithms of hostKeyAlgorithms(expectation)) {
    try {
      return await openLine(hop, { keys, side, onHostKey, expectation, algorithms, sock: await dial() });
    } catch (error) {
      if (!(error instanceof SlipwayError) || error.code !== 'HOST_KEY') throw error;
      refusal ??= error;
    }
  }
  throw refusal;
}

type Opening = {
  readonly keys: Identities;
  readonly side: SshClientSide;
  readonly onHostKey: OnHostKey;
  readonly expectation: Expectation;
  /** None: whatever kind of host key ssh2 likes best. */
  readonly algorithms: readonly ssh2.ServerHostKeyAlgorithm[];
  readonly sock: Duplex | undefined;
};

function openLine(hop: SshHop, { keys, side, onHostKey, expectation, algorithms, sock }: Opening): Promise<Line> {
  const client = new ssh2.Client();
  let key = '';
  let judgement: Judgement | undefined;
  return new Promise<Line>((resolve, reject) => {
    const stop = (): void => {
      client.destroy();
      reject(canceled());
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
      if (judgement?.verdict === 'refused') reject(keyRefused(hop, key, judgement.wanted));
      else if (algorithms.length > 0 && /no matching host key/.test(error.message))
        reject(keyMissing(hop, expectation));
      else reject(connectError(hop, keys, error));
    });
    client.connect({
      ...(sock ? { sock } : { host: hop.address, port: hop.port }),
      username: hop.user,
      readyTimeout: CONNECT_SECONDS * 1000,
      ...KEEPALIVE,
      ...(algorithms.length > 0 ? { algorithms: { serverHostKey: [...algorithms] } } : {}),
      hostVerifier: (blob: Buffer) => {
        key = keyLine(blob);
        judgement = judgeHostKey(key, expectation);
        if (judgement.verdict !== 'refused') onHostKey(hop, key, judgement);
        return judgement.verdict !== 'refused';
      },
      // @types/ssh2 lacks the array form of authHandler, which ssh2 documents.
      authHandler: keys.methods(hop.user) as unknown as NonNullable<ConnectConfig['authHandler']>,
    });
    // What is said is short and answered: held back for more, as TCP does, each message waits for the other side's delayed ACK, 40 ms.
    client.setNoDelay(true);
  });
}

const ECDSA = ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521'] as const;
const RSA = ['rsa-sha2-512', 'rsa-sha2-256'] as const;
const COMPARABLE: ReadonlySet<string> = new Set(['ssh-ed25519', ...ECDSA, ...RSA]);

/**
 * The kinds of host key to ask for, one attempt a row: the kind that we can compare with, where we know it, since with a key to
 * compare with any other kind would be refused anyway.
 */
function hostKeyAlgorithms({
  pinned,
  expected,
  known,
}: Expectation): readonly (readonly ssh2.ServerHostKeyAlgorithm[])[] {
  if (pinned === undefined && expected !== undefined && !expected.includes(' ')) return [[], ECDSA, RSA];
  const lines = pinned !== undefined ? [pinned] : expected !== undefined ? [expected] : known;
  const types = [...new Set(lines.map((line) => line.split(' ')[0] ?? ''))];
  const algorithms = types.flatMap((type) => (type === 'ssh-rsa' ? RSA : [type]));
  return [algorithms.filter((name): name is ssh2.ServerHostKeyAlgorithm => COMPARABLE.has(name))];
}

function through(client: ssh2.Client, { address, port }: SshHop, signal: AbortSignal): Promise<Duplex> {
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
      reject(canceled());
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

function sessionOn(
  client: ssh2.Client,
  hostKey: string,
  gate: Line | undefined,
  target: SshTarget,
  side: SshClientSide,
): SshSession {
  return {
    hostKey,
    jumpKey: gate?.key,
    exec: (command, how) => execute(client, command, how, target, side),
    async [Symbol.asyncDispose]() {
      client.end();
      gate?.client.end();
    },
  };
}

function execute(
  client: ssh2.Client,
  command: Shell,
  { label, stdin, onLine }: Parameters<SshSession['exec']>[1],
  target: SshTarget,
  { signal, debug }: SshClientSide,
): Promise<Exit> {
  const started = performance.now();
  return new Promise<Exit>((resolve, reject) => {
    const settle = (act: () => void): void => {
      client.removeListener('close', lost);
      signal.removeEventListener('abort', stop);
      act();
    };
    const lost = (): void => settle(() => reject(connectionLost(target, label)));
    const stop = (): void => {
      settle(() => reject(canceled()));
      client.destroy();
    };
    if (signal.aborted) return stop();
    client.once('close', lost);
    signal.addEventListener('abort', stop, { once: true });
    const running = (error: Error | undefined, channel: ClientChannel): void => {
      if (error) return lost();
      const stdout = gather(channel, onLine);
      const stderr = gather(channel.stderr, onLine);
      let code: number | undefined;
      channel.on('exit', (status: number | null) => {
        // A null status is death by a signal, for which shells use 128 and more.
        code = status ?? 255;
      });
      channel.on('close', () => {
        if (code === undefined) return lost();
        debug(`ssh ${target.address} [${label}] ${command} -> exit ${code} in ${elapsed(started)}`);
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
function gather(stream: NodeJS.ReadableStream, onLine: ((line: string) => void) | undefined): () => string {
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

type Identities = {
  readonly methods: (username: string) => readonly AnyAuthMethod[];
  readonly shown: string;
  readonly locked: readonly string[];
};

/** The key that was named, else the agent's keys, then the files that OpenSSH tries. */
async function identities(target: SshTarget, { agent, userHome }: SshClientSide): Promise<Identities> {
  const usual = ['id_ed25519', 'id_ecdsa', 'id_rsa'].map((name) => join(userHome, '.ssh', name));
  const files = target.keyFile === undefined ? usual : [target.keyFile];
  const keys: { readonly path: string; readonly text: Buffer }[] = [];
  const locked: string[] = [];
  for (const path of files) {
    const text = await readKey(path, target.keyFile !== undefined);
    if (!text) continue;
    const parsed = ssh2.utils.parseKey(text);
    // A public key parses as well.
    const unusable =
      parsed instanceof Error ? parsed.message : parsed.isPrivateKey() ? undefined : 'it is the public half';
    if (unusable === undefined) keys.push({ path, text });
    else if (/encrypted|passphrase/i.test(unusable)) locked.push(path);
    else if (target.keyFile !== undefined) {
      throw new SlipwayError('USAGE', `${path} is not a private key that SSH can use: ${unusable}`, {
        hint: CHECK_KEY,
      });
    }
  }
  const named = [...(agent === undefined ? [] : ['the SSH agent']), ...keys.map(({ path }) => path)];
  return {
    shown: named.join(', ') || 'none',
    locked,
    methods(username) {
      const byFile = keys.map(({ text }): AnyAuthMethod => ({ type: 'publickey', username, key: text }));
      const byAgent: AnyAuthMethod[] = agent === undefined ? [] : [{ type: 'agent', username, agent }];
      // A server hangs up after a few wrong keys, so the one that the user named goes first.
      return target.keyFile === undefined ? [...byAgent, ...byFile] : [...byFile, ...byAgent];
    },
  };
}

const CHECK_KEY = 'Name a private key file with --generic-ssh-key';

async function readKey(path: string, required: boolean): Promise<Buffer | undefined> {
  return readFile(path).catch((error: unknown) => {
    if (!required && systemCode(error) === 'ENOENT') return undefined;
    const why = systemCode(error) === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new SlipwayError('USAGE', `The SSH key ${path} can't be read: ${why}`, { hint: CHECK_KEY, cause: error });
  });
}

function keyRefused(hop: SshHop, offered: string, wanted: readonly string[]): SlipwayError {
  return new SlipwayError(
    'HOST_KEY',
    `${hop.address} showed the host key ${shownKey(offered)}, ${wanted.length === 0 ? 'which your known_hosts has revoked' : `not ${wanted.map(shownKey).join(' or ')}`}`,
    {
      hint: newKeyHint(keyFileKind(offered)),
    },
  );
}

/** A key of the kind that we know is no longer, or never was, among the host's. */
function keyMissing(hop: SshHop, { pinned, expected, known }: Expectation): SlipwayError {
  const wanted = [pinned ?? expected ?? known].flat();
  return new SlipwayError(
    'HOST_KEY',
    `${hop.address} has no host key of the kind of ${wanted.map(shownKey).join(' or ')}`,
    {
      hint: newKeyHint('*'),
    },
  );
}

function newKeyHint(kind: string): string {
  return `Somebody may stand in between. If the host really has a new key, look at it there: ssh-keygen -lf /etc/ssh/ssh_host_${kind}_key.pub, then give that fingerprint with --generic-host-key (a jump host’s: --generic-ssh-jump-host-key)`;
}

function keyFileKind(key: string): string {
  return /ecdsa/.test(key) ? 'ecdsa' : /rsa/.test(key) ? 'rsa' : 'ed25519';
}

function connectionLost(target: SshTarget, label: string): SlipwayError {
  return new SlipwayError('SSH_LOST', `The SSH connection to ${target.address} broke while this ran: ${label}`, {
    hint: 'Run the same command again: it goes on where this one stopped',
  });
}

function connectError(hop: SshHop, keys: Identities, error: Error & { level?: string }): SlipwayError {
  const where = `${hop.address}:${hop.port}`;
  if (error.level === 'client-authentication') {
    const locked = keys.locked.length > 0 ? `; ${keys.locked.join(', ')} has a passphrase` : '';
    return new SlipwayError(
      'SSH_REFUSED',
      `${hop.user}@${where} accepted none of the keys offered (${keys.shown}${locked})`,
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

function elapsed(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(2)} s`;
}

/** Of one key in 256 the library drops a leading zero, and nobody can read it: such a one is made again. */
export function newKeyPair(comment: string): KeyPair {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment });
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

import { connect, type NetConnectOpts, type Socket, type TcpNetConnectOpts } from 'node:net';
import { createInterface } from 'node:readline';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { systemCode } from '../../errors.ts';

/** A connection to QEMU's monitor, by the QEMU Machine Protocol. QEMU serves one client at a time, so close it soon. */
export type Monitor = AsyncDisposable & {
  /** QEMU's version, such as `7.2.22`. */
  readonly version: string;
  /** Runs a command and returns its `return`. Rejects with QEMU's own message for an `error`. */
  execute(command: string, parameters?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Returns whether QEMU exits within these seconds. */
  waitForExit(seconds: number): Promise<boolean>;
};

/**
 * Where a monitor listens: a socket in a private folder, or a port of 127.0.0.1. Other users and the VM's own guest
 * reach a port too, so it requires `key`: QEMU and Slipway prove to each other by TLS that they know it (in hex).
 */
export type MonitorAddress = NetConnectOpts & { readonly key?: string };

type QmpGreeting = {
  readonly version?: { readonly qemu?: Readonly<Record<'major' | 'minor' | 'micro', number>> };
};
type QmpResponse = {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
  readonly QMP?: QmpGreeting;
};

const RESPONSE_TIMEOUT_SECONDS = 5;
const SILENCE_MESSAGE = `QEMU has not answered for ${RESPONSE_TIMEOUT_SECONDS} seconds`;
/** The name of the key. QEMU looks it up in its file of keys. */
export const MONITOR_KEY_NAME = 'slipway';

/**
 * Connects to a monitor. Returns undefined if no program listens, since the VM does not run then. Rejects if a program
 * listens that is not QEMU, or does not answer for five seconds.
 */
export async function openMonitor(where: MonitorAddress): Promise<Monitor | undefined> {
  const socket = await connectIfListening(where);
  if (!socket) return undefined;
  const { nextResponse, closed } = readResponses(socket);
  const writeLine = createLineWriter(socket);
  const execute: Monitor['execute'] = async (command, parameters) => {
    const response = nextResponse();
    writeLine(JSON.stringify({ execute: command, ...(parameters ? { arguments: parameters } : {}) }));
    return (await response).return;
  };
  const close = async (): Promise<void> => {
    socket.destroy();
  };
  try {
    const version = formatVersion((await nextResponse()).QMP);
    await execute('qmp_capabilities');
    return {
      version,
      execute,
      waitForExit: (seconds) => resolvesWithin(closed, seconds),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Returns a function that writes lines to a monitor. By TLS, QEMU reads one byte whenever the connection has something
 * to read, and overlooks what it has already decrypted. So a line ends with a record of one byte: until QEMU reads it,
 * the connection has something to read. Without a callback in between, Node would merge the two records.
 */
function createLineWriter(socket: Socket): (line: string) => void {
  if (!(socket instanceof TLSSocket)) return (line) => void socket.write(`${line}\n`);
  let written = Promise.resolve();
  // After an error, the connection closes, which rejects all commands.
  const write = (part: string): Promise<void> => new Promise((resolve) => void socket.write(part, () => resolve()));
  return (line) => {
    written = written.then(() => write(line)).then(() => write('\n'));
  };
}

/** Reads a monitor's responses, each for the oldest call of `nextResponse` that has none yet. */
function readResponses(socket: Socket): {
  readonly nextResponse: () => Promise<QmpResponse>;
  readonly closed: Promise<void>;
} {
  const waiting: ((response: QmpResponse | Error) => void)[] = [];
  const answerOldest = (response: QmpResponse | Error): void => waiting.shift()?.(response);
  const lines = createInterface({ input: socket });
  lines.on('line', (line) => {
    const response = parseResponse(line);
    if (response === undefined) {
      answerOldest(new Error('the program that answers on the monitor is not QEMU'));
      socket.destroy();
      return;
    }
    // QEMU also sends events; nothing waits for one.
    if (response.QMP !== undefined || 'return' in response || response.error !== undefined) answerOldest(response);
  });
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      while (waiting.length > 0) answerOldest(new Error('QEMU exited'));
      resolve();
    });
  });
  // A QEMU that quits may reset the connection, which readline passes on. The `close` that follows rejects all calls.
  socket.on('error', () => {});
  lines.on('error', () => {});
  const nextResponse = (): Promise<QmpResponse> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => answerOldest(new Error(SILENCE_MESSAGE)), RESPONSE_TIMEOUT_SECONDS * 1000);
      waiting.push((response) => {
        clearTimeout(timer);
        if (response instanceof Error) reject(response);
        else if (response.error !== undefined) reject(new Error(response.error.desc));
        else resolve(response);
      });
    });
  return { nextResponse, closed };
}

function formatVersion(greeting: QmpGreeting | undefined): string {
  const { major = 0, minor = 0, micro = 0 } = greeting?.version?.qemu ?? {};
  return `${major}.${minor}.${micro}`;
}

/** Returns undefined for a line that is not of the protocol. */
function parseResponse(line: string): QmpResponse | undefined {
  try {
    const response = JSON.parse(line) as QmpResponse | null;
    return typeof response === 'object' && response !== null ? response : undefined;
  } catch {
    return undefined;
  }
}

function connectIfListening({ key, ...where }: MonitorAddress): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const [socket, event] =
      key === undefined
        ? ([connect(where), 'connect'] as const)
        : ([connectWithKey(where, key), 'secureConnect'] as const);
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    // A listener of another program may never answer the handshake.
    const timer = setTimeout(() => fail(new Error(SILENCE_MESSAGE)), RESPONSE_TIMEOUT_SECONDS * 1000);
    const failClosed = (): void => fail(new Error('the program that listens closes the connection'));
    socket.once(event, () => {
      clearTimeout(timer);
      socket.removeAllListeners('error').off('close', failClosed);
      socket.setNoDelay(true);
      resolve(socket);
    });
    socket.once('close', failClosed);
    socket.once('error', (error) => {
      clearTimeout(timer);
      // ECONNREFUSED: the socket file of a QEMU that was killed.
      if (['ENOENT', 'ECONNREFUSED', 'ENOTSOCK'].includes(systemCode(error) ?? '')) resolve(undefined);
      else fail(error);
    });
  });
}

/** Connects by TLS with a pre-shared key, which has no certificates. Node supports such keys up to TLS 1.2. */
function connectWithKey(where: NetConnectOpts, key: string): Socket {
  return connectTls({
    ...(where as TcpNetConnectOpts),
    ciphers: 'kECDHEPSK:kDHEPSK',
    maxVersion: 'TLSv1.2',
    pskCallback: () => ({ psk: Buffer.from(key, 'hex'), identity: MONITOR_KEY_NAME }),
    checkServerIdentity: () => undefined,
  });
}

function resolvesWithin(promise: Promise<void>, seconds: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), seconds * 1000);
    void promise.then(() => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}

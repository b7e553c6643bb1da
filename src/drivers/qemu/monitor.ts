import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { systemCode } from '../../errors.ts';

/** A QEMU that answers on its monitor, by the QEMU Machine Protocol. It speaks to one client at a time: close it soon. */
export type Monitor = AsyncDisposable & {
  /** Of QEMU, as it introduces itself: `7.2.22`. */
  readonly version: string;
  /** The command's `return`; rejects with QEMU's own words for its `error`. */
  execute(command: string, given?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Resolves when QEMU has ended, with true, or with false after these seconds. */
  waitForExit(seconds: number): Promise<boolean>;
};

type QmpGreeting = {
  readonly version?: { readonly qemu?: Readonly<Record<'major' | 'minor' | 'micro', number>> };
};
type QmpResponse = {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
  readonly QMP?: QmpGreeting;
};

const RESPONSE_TIMEOUT_SECONDS = 5;

/** Undefined where nobody listens: the VM does not run. Rejects when somebody does and says nothing for five seconds. */
export async function openMonitor(where: NetConnectOpts): Promise<Monitor | undefined> {
  const socket = await connectIfListening(where);
  if (!socket) return undefined;
  const waiting: ((answer: QmpResponse | Error) => void)[] = [];
  const settle = (answer: QmpResponse | Error): void => waiting.shift()?.(answer);
  const lines = createInterface({ input: socket });
  lines.on('line', (line) => {
    const answer = parseResponse(line);
    // Whoever listens there is no QEMU.
    if (answer === undefined) {
      settle(new Error('what answers on the monitor is not QEMU'));
      socket.destroy();
      return;
    }
    // Events come between answers; nobody here waits for one.
    if (answer.QMP !== undefined || 'return' in answer || answer.error !== undefined) settle(answer);
  });
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      while (waiting.length > 0) settle(new Error('QEMU ended'));
      resolve();
    });
  });
  // Its `close` follows, which tells those who wait. A QEMU that quits may reset the connection, and readline passes that on.
  socket.on('error', () => {});
  lines.on('error', () => {});

  const next = (): Promise<QmpResponse> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => settle(new Error(`QEMU has not answered for ${RESPONSE_TIMEOUT_SECONDS} seconds`)),
        RESPONSE_TIMEOUT_SECONDS * 1000,
      );
      waiting.push((answer) => {
        clearTimeout(timer);
        if (answer instanceof Error) reject(answer);
        else if (answer.error !== undefined) reject(new Error(answer.error.desc));
        else resolve(answer);
      });
    });
  const execute: Monitor['execute'] = async (command, given) => {
    const answer = next();
    socket.write(`${JSON.stringify({ execute: command, ...(given ? { arguments: given } : {}) })}\n`);
    return (await answer).return;
  };
  const close = async (): Promise<void> => {
    socket.destroy();
  };
  let version: string;
  try {
    version = formatVersion((await next()).QMP);
    await execute('qmp_capabilities');
  } catch (error) {
    await close();
    throw error;
  }
  return {
    version,
    execute,
    waitForExit: (seconds) => {
      const { promise, resolve } = createDeferred<boolean>();
      const timer = setTimeout(() => resolve(false), seconds * 1000);
      void closed.then(() => {
        clearTimeout(timer);
        resolve(true);
      });
      return promise;
    },
    [Symbol.asyncDispose]: close,
  };
}

function formatVersion(greeting: QmpGreeting | undefined): string {
  const { major = 0, minor = 0, micro = 0 } = greeting?.version?.qemu ?? {};
  return `${major}.${minor}.${micro}`;
}

function parseResponse(line: string): QmpResponse | undefined {
  try {
    const answer = JSON.parse(line) as QmpResponse | null;
    return typeof answer === 'object' && answer !== null ? answer : undefined;
  } catch {
    return undefined;
  }
}

function connectIfListening(where: NetConnectOpts): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(where);
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error) => {
      // A file that a killed QEMU left behind refuses connections.
      if (['ENOENT', 'ECONNREFUSED', 'ENOTSOCK'].includes(systemCode(error) ?? '')) resolve(undefined);
      else reject(error);
    });
  });
}

function createDeferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

import { SlipwayError } from '../errors.ts';
import type { SshSession } from '../ssh/session.ts';

/** Opens a session. The signal aborts when the session is not wanted any more. */
export type OpenSession = (signal: AbortSignal) => Promise<SshSession>;

/** `problem` is why the last attempt failed; undefined before the first attempt has ended. */
export type LinkConnectionState =
  { readonly isConnected: true } | { readonly isConnected: false; readonly problem: unknown };

/** The one SSH connection of a link. It is opened again whenever it is lost. */
export type LinkConnection = AsyncDisposable & {
  readonly state: () => LinkConnectionState;
  /** Returns the open session, or waits for it. Rejects with the last problem if there is none in time. */
  readonly session: (options?: { readonly seconds?: number }) => Promise<SshSession>;
  /** Drops the connection and opens another at once: after the computer slept, nobody may answer on the old one. */
  readonly reset: () => void;
};

export type LinkConnectionOptions = {
  readonly open: OpenSession;
  /** Gets each change of the state. */
  readonly onChange?: (state: LinkConnectionState) => void;
};

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 10_000;
/** A host that refuses the login may lock out a computer that tries again too often. */
const REFUSED_PAUSE_MS = 60_000;
/** A session that ends sooner counts as a failed attempt, so that pauses go on growing. */
const STABLE_MS = 5_000;
/** Somebody who needs the connection ends a pause, but not sooner than this after the last attempt. */
const SHORTEST_PAUSE_MS = 1_000;
const WAIT_SECONDS = 10;

/** Opens the connection, and opens it again until it is disposed. */
export function createLinkConnection({ open, onChange = () => {} }: LinkConnectionOptions): LinkConnection {
  let state: LinkConnectionState = { isConnected: false, problem: undefined };
  let session: SshSession | undefined;
  let attempt = new AbortController();
  const disposal = new AbortController();
  const isDisposed = (): boolean => disposal.signal.aborted;
  let endPause = (): void => {};
  let lastAttemptAt = 0;
  const waiting = new Set<() => void>();

  const change = (next: LinkConnectionState): void => {
    state = next;
    for (const wake of waiting) wake();
    onChange(next);
  };
  const pause = async (milliseconds: number): Promise<void> => {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    endPause = () => {};
  };
  /** Opens a session and waits until it has ended. Returns why there is none, or undefined. */
  const runSession = async (): Promise<{ readonly problem: unknown } | undefined> => {
    attempt = new AbortController();
    const { signal } = attempt;
    lastAttemptAt = performance.now();
    try {
      const opened = await open(signal);
      if (signal.aborted) opened.drop();
      else {
        session = opened;
        change({ isConnected: true });
      }
      await opened.closed;
      return undefined;
    } catch (problem) {
      return { problem };
    } finally {
      session = undefined;
    }
  };
  const run = async (): Promise<void> => {
    let pauseMs = FIRST_PAUSE_MS;
    while (!isDisposed()) {
      const startedAt = performance.now();
      const failure = await runSession();
      if (isDisposed()) return;
      // A session that was reset is opened again at once.
      if (attempt.signal.aborted) pauseMs = 0;
      else if (failure === undefined && performance.now() - startedAt > STABLE_MS) pauseMs = FIRST_PAUSE_MS;
      change({ isConnected: false, problem: failure?.problem });
      await pause(isRefusal(failure?.problem) ? REFUSED_PAUSE_MS : pauseMs);
      pauseMs = Math.min(Math.max(pauseMs * 2, FIRST_PAUSE_MS), LONGEST_PAUSE_MS);
    }
  };
  const running = run();

  return {
    state: () => state,
    async session({ seconds = WAIT_SECONDS } = {}) {
      if (session !== undefined) return session;
      if (performance.now() - lastAttemptAt > SHORTEST_PAUSE_MS && !isRefusal(problemOf(state))) endPause();
      await new Promise<void>((resolve) => {
        const settle = (): void => {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve();
        };
        const wake = (): void => {
          if (session !== undefined || isDisposed() || isRefusal(problemOf(state))) settle();
        };
        const timer = setTimeout(settle, seconds * 1000);
        waiting.add(wake);
        wake();
      });
      // It may have been set while this waited.
      const opened = session as SshSession | undefined;
      if (opened !== undefined) return opened;
      throw problemOf(state) ?? new SlipwayError('SSH_UNREACHABLE', `There was no SSH connection within ${seconds} s`);
    },
    reset() {
      attempt.abort();
      session?.drop();
      endPause();
    },
    async [Symbol.asyncDispose]() {
      disposal.abort();
      attempt.abort();
      session?.drop();
      endPause();
      for (const wake of waiting) wake();
      await running;
    },
  };
}

function problemOf(state: LinkConnectionState): unknown {
  return state.isConnected ? undefined : state.problem;
}

/** Returns whether the host answered and refused, so that another attempt would end in the same way. */
function isRefusal(problem: unknown): boolean {
  return problem instanceof SlipwayError && ['SSH_REFUSED', 'HOST_KEY', 'USAGE'].includes(problem.code);
}

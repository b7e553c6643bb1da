import type { Duplex } from 'node:stream';
import type { PortAddress } from '../machine/forward.ts';
import type { Shell } from './shell.ts';

/** The result of a remote command. A non-zero exit code is no error here: only the caller knows what it means. */
export type ExecResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

export type SshSession = AsyncDisposable & {
  /** The host keys that the target and its jump host showed and that were accepted. */
  readonly hostKey: string;
  readonly jumpHostKey: string | undefined;
  /** Runs a command. Rejects only if the connection is lost (SSH_LOST) or the user canceled (CANCELED). */
  exec(command: Shell, how: ExecOptions): Promise<ExecResult>;
  /**
   * Connects to a TCP port as the host sees it. Each side of the stream ends by itself, as those of a socket do. The
   * stream fails if the connection is lost, so that a truncated answer is never taken for a complete one.
   */
  connectTcp(target: PortAddress): Promise<Duplex>;
  /** Starts a command whose input and output stay open. */
  startCommand(command: Shell, label: string): Promise<RemoteCommand>;
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;
  /** Ends the connection at once, also if the host does not answer. */
  drop(): void;
};

/** A command that runs on the host. */
export type RemoteCommand = {
  /** What the command reads from and writes to. Fails if the connection is lost. */
  readonly stream: Duplex;
  /** Resolves when the command has ended. The code is undefined if the connection was lost or a signal ended it. */
  readonly ended: Promise<{ readonly code: number | undefined; readonly stderr: string }>;
};

export type ExecOptions = {
  /** Names the command in messages and in the output of --debug. */
  readonly label: string;
  readonly stdin?: string | Uint8Array;
  readonly onLine?: (line: string) => void;
};

/** What a connection uses of this computer. */
export type SshClientOptions = {
  readonly userHome: string;
  readonly platform: NodeJS.Platform;
  /** The environment of the `ssh` that may log in. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** SSH_AUTH_SOCK. */
  readonly agentSocket: string | undefined;
  /** Whether the user's own `ssh` may log in where the SSH library can't. */
  readonly allowOpenSsh: boolean;
  readonly signal: AbortSignal;
  readonly debug: (line: string) => void;
};

import type { Shell } from './shell.ts';

/** The result of a remote command. A non-zero exit code is no error here: only the caller knows what it means. */
export type ExecResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

export type SshSession = AsyncDisposable & {
  /** The host keys that the target and its jump host showed and that were accepted. */
  readonly hostKey: string;
  readonly jumpHostKey: string | undefined;
  /** Runs a command. Rejects only if the connection is lost (SSH_LOST) or the user canceled (CANCELED). */
  exec(command: Shell, how: ExecOptions): Promise<ExecResult>;
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

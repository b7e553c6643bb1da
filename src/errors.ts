/** Every error code a user can meet, and the exit status it ends with. Both are stable: scripts read them. */
export const exitCodes = {
  USAGE: 2,
  DRIVER_UNKNOWN: 2,
  MACHINE_NOT_FOUND: 3,
  MACHINE_EXISTS: 3,
  MACHINE_BUSY: 3,
  MACHINE_NOT_READY: 3,
  MACHINE_ENDED: 3,
  RECORD_BROKEN: 3,
  CONTEXT_TAKEN: 3,
  IMAGE_MISSING: 3,
  IMAGE_IN_USE: 3,
  DRIVER_UNSUPPORTED: 4,
  DRIVER_FAILED: 4,
  CREDENTIALS: 4,
  PROVIDER_REFUSED: 4,
  QUOTA: 4,
  CAPACITY: 4,
  PORT_TAKEN: 4,
  CREATE_TIMEOUT: 5,
  BOOT_FAILED: 5,
  SSH_UNREACHABLE: 6,
  SSH_REFUSED: 6,
  SSH_LOST: 6,
  HOST_KEY: 6,
  REMOTE_COMMAND: 7,
  SUDO: 7,
  HOST_FULL: 7,
  DAEMON_JSON: 7,
  ENGINE_MISSING: 7,
  PACKAGE_CONFLICT: 7,
  ENGINE_CONFLICT: 7,
  OS_UNSUPPORTED: 8,
  ENGINE_UNREACHABLE: 9,
  ENGINE_OPEN: 9,
  LOCAL_FILES: 10,
  PROGRAM_MISSING: 11,
  DOWNLOAD: 12,
  IMAGE_BUILD: 12,
  IMAGE_CHANGED: 12,
  CANCELED: 130,
} as const;

export type ErrorCode = keyof typeof exitCodes;

/**
 * An error that the user can act on: the message says what happened, to which thing, with which value; the hint says
 * what to type next; `detail` holds lines of another program's output that explain it. Anything else thrown is a bug.
 */
export class SlipwayError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly detail: readonly string[];

  constructor(
    code: ErrorCode,
    message: string,
    more: { readonly hint?: string; readonly detail?: readonly string[]; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.name = 'SlipwayError';
    this.code = code;
    this.hint = more.hint;
    this.detail = more.detail ?? [];
  }
}

/** The `code` of a Node system error (`ENOENT`, `ECONNREFUSED`), or undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Returns the message of anything that was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const NETWORK_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'it closed the connection',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'the network is unreachable',
  ENOTFOUND: 'the host name does not exist',
  EAI_AGAIN: 'the host name could not be looked up',
  ETIMEDOUT: 'no answer',
};

/** Returns why a connection failed, as the end of a sentence; the error's own message if its code is no network's. */
export function networkReasonOf(error: unknown): string {
  return NETWORK_REASONS[systemCode(error) ?? ''] ?? reasonOf(error);
}

/** The error of a command that the user canceled, with Ctrl-C or at a question. */
export function canceledError(): SlipwayError {
  return new SlipwayError('CANCELED', 'Canceled');
}

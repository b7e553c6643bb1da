import { systemCode } from '../../errors.ts';

/** SFTP version 3 has the numbers up to `unsupported`; sshfs turns all others into EIO. */
export const STATUS = {
  ok: 0,
  endOfFile: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  badMessage: 5,
  unsupported: 8,
  inputOutputError: 9,
} as const;

/**
 * The statuses that sshfs turns back into errors: ENOENT, EACCES, and EPERM for `failure`, which it tells as EEXIST
 * after mkdir and as ENOTEMPTY after rmdir. All other errors, such as a full disk, are EIO there.
 */
const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  ENOENT: STATUS.noSuchFile,
  ENOTDIR: STATUS.noSuchFile,
  EACCES: STATUS.permissionDenied,
  EROFS: STATUS.permissionDenied,
  EPERM: STATUS.failure,
  EEXIST: STATUS.failure,
  ENOTEMPTY: STATUS.failure,
  EISDIR: STATUS.failure,
  ELOOP: STATUS.failure,
  EXDEV: STATUS.failure,
  EINVAL: STATUS.failure,
  ENAMETOOLONG: STATUS.failure,
  EMLINK: STATUS.failure,
  ENOTSUP: STATUS.unsupported,
  EOPNOTSUPP: STATUS.unsupported,
};

export function statusOfError(error: unknown): number {
  return STATUS_OF_CODE[systemCode(error) ?? ''] ?? STATUS.inputOutputError;
}

/** Returns an error as the computer's own file system throws it. */
export function fileSystemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

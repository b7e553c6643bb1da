import { SlipwayError } from '../errors.ts';

/**
 * The error that ends a command of the drop-in: the program prints only its message, and exits with Docker Machine's
 * status.
 */
export class DockerMachineError extends Error {
  readonly status: number;

  constructor(message: string, { status = 1, cause }: { readonly status?: number; readonly cause?: unknown } = {}) {
    super(message, { cause });
    this.name = 'Failure';
    this.status = status;
  }
}

/** The exit status of shells for a command that Ctrl-C interrupted. */
export const INTERRUPTED_STATUS = 130;

/**
 * Converts a SlipwayError; other errors are returned unchanged. If a machine does not exist, the message is Docker
 * Machine's own, since scripts look for it.
 */
export function toDockerMachineError(error: unknown, name?: string): unknown {
  if (!(error instanceof SlipwayError)) return error;
  if (error.code === 'MACHINE_NOT_FOUND' && name !== undefined) return machineNotFoundError(name);
  const status = error.code === 'CANCELED' ? INTERRUPTED_STATUS : 1;
  return new DockerMachineError(formatSlipwayError(error), { status, cause: error });
}

export function machineNotFoundError(name: string): DockerMachineError {
  return new DockerMachineError(
    `Docker machine "${name}" does not exist. Use "docker-machine ls" to list machines. Use "docker-machine create" to add a new one.`,
  );
}

/**
 * Formats an error as lines: its details, its message and its hint, with this program's commands instead of Slipway's.
 */
export function formatSlipwayError({ message, hint, detail }: SlipwayError): string {
  return [...detail.map((line) => `  │ ${line}`), message, ...(hint === undefined ? [] : [hint])]
    .map(rewriteCommandNames)
    .join('\n');
}

/** The commands that both programs have, and that do the same. */
const SHARED_COMMANDS =
  'create|provision|upgrade|regenerate-certs|rm|start|stop|restart|kill|ls|status|inspect|ip|url|env|config|ssh|scp';

/** Replaces `slipway COMMAND` with `docker-machine COMMAND` for the commands that both programs have. */
export function rewriteCommandNames(text: string): string {
  return text.replaceAll(new RegExp(String.raw`\bslipway (?=(?:${SHARED_COMMANDS})\b)`, 'g'), 'docker-machine ');
}

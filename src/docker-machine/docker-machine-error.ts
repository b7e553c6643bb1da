import { SlipwayError } from '../errors.ts';

/** How a command of the drop-in ends when it does not work: the message alone on stderr, and the old tool's exit status. */
export class DockerMachineError extends Error {
  readonly status: number;

  constructor(message: string, { status = 1, cause }: { readonly status?: number; readonly cause?: unknown } = {}) {
    super(message, { cause });
    this.name = 'Failure';
    this.status = status;
  }
}

/** An interrupt, as shells have it. */
export const INTERRUPTED_STATUS = 130;

/** Ours where the old tool had none that anybody waits for; the old sentence where scripts look for it. */
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

/** What happened, and what to type next: in the words of this command line, where it has them. */
export function formatSlipwayError({ message, hint, detail }: SlipwayError): string {
  return [...detail.map((line) => `  │ ${line}`), message, ...(hint === undefined ? [] : [hint])]
    .map(rewriteCommandNames)
    .join('\n');
}

/** Commands of both command lines do the same to their machines. */
const SHARED_COMMANDS =
  'create|provision|upgrade|regenerate-certs|rm|start|stop|restart|kill|ls|status|inspect|ip|url|env|config|ssh|scp';

export function rewriteCommandNames(text: string): string {
  return text.replaceAll(new RegExp(String.raw`\bslipway (?=(?:${SHARED_COMMANDS})\b)`, 'g'), 'docker-machine ');
}

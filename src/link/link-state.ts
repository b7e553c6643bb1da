import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileIfExists, renamePath } from '../computer/files.ts';
import type { PortRefusal } from '../machine/forward.ts';

/** A port that a container publishes, and why it is not open on this computer, if it is not. */
export type LinkedPort = {
  readonly protocol: 'tcp' | 'udp';
  /** Where this computer listens. */
  readonly address: string;
  readonly port: number;
  readonly container: string;
  readonly refusal?: PortRefusal;
};

/**
 * What a link has done, for commands that show it. The link itself never reads it: what exists is asked again in each
 * round.
 */
export type LinkState = {
  readonly version: 1;
  readonly pid: number;
  readonly ports: readonly LinkedPort[];
  /** Why the link could not do its work in its last round. */
  readonly problem?: string;
};

const STATE_FILE = 'state.json';

export function linkStateFile(folder: string): string {
  return join(folder, STATE_FILE);
}

/** Reads the state of a link; undefined if there is none, or another version of Slipway wrote it. */
export async function readLinkState(folder: string): Promise<LinkState | undefined> {
  const text = await readFileIfExists(linkStateFile(folder));
  if (text === undefined) return undefined;
  try {
    const state = JSON.parse(text) as LinkState;
    return state.version === 1 ? state : undefined;
  } catch {
    return undefined;
  }
}

/** Replaces the state. Fails if the folder is gone, and never creates it: the machine was then removed. */
export async function writeLinkState(folder: string, state: LinkState): Promise<void> {
  const temporary = `${linkStateFile(folder)}.tmp`;
  await writeFile(temporary, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  await renamePath(temporary, linkStateFile(folder));
}

/** A published port in the output of --json. Its keys never change. */
export type PortDocument = {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
  readonly container: string;
  /** Why the port is not open on this computer; null if it is. */
  readonly problem: string | null;
};

export function toPortDocument({ refusal, protocol, address, port, container }: LinkedPort): PortDocument {
  return { protocol, address, port, container, problem: refusal === undefined ? null : describeRefusal(refusal) };
}

/** Describes a port in one phrase: `8080 → web`, `53/udp → dns`, `5432: taken by postgres (pid 812)`. */
export function describePort({ problem, ...port }: PortDocument): string {
  return problem === null ? `${portName(port)} → ${port.container}` : `${portName(port)}: ${problem}`;
}

/** Returns a sentence for the user about a port that could not be opened, and what to do; undefined for an open one. */
export function explainPort({ refusal, ...port }: LinkedPort, platform: NodeJS.Platform): string | undefined {
  if (refusal === undefined) return undefined;
  const sentence = `Port ${portName(port)} of container ${port.container} is not open on this computer: ${describeRefusal(refusal)}`;
  const fix = fixOf(refusal, port.port, platform);
  return fix === undefined ? sentence : `${sentence}. ${fix}`;
}

function describeRefusal(refusal: PortRefusal): string {
  switch (refusal.reason) {
    case 'taken':
      return refusal.user === undefined ? 'taken by another program' : `taken by ${refusal.user}`;
    case 'privileged':
      return 'only an administrator may open it';
    case 'refused':
      return refusal.detail;
  }
}

function fixOf({ reason }: PortRefusal, port: number, platform: NodeJS.Platform): string | undefined {
  if (reason === 'taken') return 'It is opened as soon as it is free';
  if (reason === 'privileged' && platform === 'linux')
    return `To allow it for all users: sudo sysctl -w net.ipv4.ip_unprivileged_port_start=${port}`;
  return undefined;
}

/** Returns a port's number, with what differs from TCP on 127.0.0.1. */
function portName({ protocol, address, port }: Omit<LinkedPort, 'refusal'>): string {
  const host = address.includes(':') ? `[${address}]` : address;
  return `${address === '127.0.0.1' ? '' : `${host}:`}${port}${protocol === 'udp' ? '/udp' : ''}`;
}

import { readFile } from 'node:fs/promises';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { clientCertificates } from './lifecycle.ts';
import { systemCode } from './errors.ts';
import type { Machine, Ready } from './machine.ts';
import { daysLeft, RENEW_DAYS } from './provision/certificates.ts';
import { askVersion, inWords } from './provision/engine-api.ts';
import type { Store } from './store.ts';

export type Look = {
  /** unfinished: its making was stopped; no engine: the host answers SSH, the engine does not; unreachable: nothing does. */
  readonly state: 'running' | 'unfinished' | 'no engine' | 'unreachable';
  readonly engine: string | undefined;
  /** Until the first of its certificates expires. */
  readonly days: number | undefined;
  /** What is wrong, in words; '' when nothing is. */
  readonly trouble: string;
};

/** How a machine is right now, asked of the engine itself: within the given seconds, and two for a host that is silent. */
export async function lookAt(
  machine: Machine,
  {
    store,
    signal,
    seconds,
    now,
  }: { readonly store: Store; readonly signal: AbortSignal; readonly seconds: number; readonly now: Date },
): Promise<Look> {
  const failed =
    machine.failure === undefined ? '' : `stopped at "${machine.failure.step}": ${machine.failure.message}`;
  if (machine.phase !== 'ready')
    return { state: 'unfinished', engine: undefined, days: undefined, trouble: failed || 'its making was stopped' };
  let days: number | undefined;
  try {
    days = await daysUntilExpiry(machine, store, now);
  } catch (error) {
    // Gone, or no certificates any more: `provision` makes them anew.
    const why = `its certificates can't be read (${systemCode(error) ?? 'they are no PEM'}); mend them: slipway provision ${machine.spec.name}`;
    return { state: 'unreachable', engine: undefined, days, trouble: [why, failed].filter(Boolean).join('; ') };
  }
  const expiry =
    days === undefined || days > RENEW_DAYS
      ? ''
      : days < 0
        ? 'its certificates have expired'
        : `its certificates expire in ${days} days`;
  const trouble = (first: string): string => [first, expiry, failed].filter(Boolean).join('; ');
  try {
    const { Version } = await askVersion(machine.endpoint, await clientCertificates(machine, store), {
      signal,
      seconds,
    });
    return { state: 'running', engine: Version, days, trouble: trouble('') };
  } catch (error) {
    if (signal.aborted) throw error;
    // Not asked beside the engine: sshd holds it against a caller to connect and say nothing.
    const ssh = machine.host.ssh;
    const answers = ssh !== undefined && (await opens(ssh.address, ssh.port));
    return {
      state: answers ? 'no engine' : 'unreachable',
      engine: undefined,
      days,
      trouble: trouble(`engine: ${inWords(error)}`),
    };
  }
}

async function daysUntilExpiry({ spec, endpoint, host }: Ready, store: Store, now: Date): Promise<number | undefined> {
  if (!endpoint.tls) return undefined;
  const { tls, server } = store.paths(spec.name);
  const files = [join(tls, 'ca.pem'), join(tls, 'cert.pem'), ...(host.ssh ? [join(server, 'cert.pem')] : [])];
  return daysLeft(await Promise.all(files.map((file) => readFile(file, 'utf8'))), now);
}

const PORT_SECONDS = 2;

function opens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectSocket({ host, port, timeout: PORT_SECONDS * 1000 });
    const answer = (open: boolean) => (): void => {
      socket.destroy();
      resolve(open);
    };
    socket.once('connect', answer(true)).once('error', answer(false)).once('timeout', answer(false));
  });
}

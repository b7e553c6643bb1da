import { randomUUID } from 'node:crypto';
import { pauseFor } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { MakingCall } from '../contract.ts';
import type { Kind } from './calls.ts';
import type { Fields, Gce } from './client.ts';
import { isCapacity, operationFailed, statusOf } from './errors.ts';
import { requestId } from './names.ts';

/** As far as we read it. The package's own types of it are 32 MB of text. */
type Operation = {
  readonly name?: string;
  readonly status?: string;
  readonly insertTime?: string;
  readonly error?: { readonly errors?: readonly { readonly code?: string; readonly message?: string }[] };
};

const MINUTES = 15;
const ATTEMPTS = 5;
const APPEARS_SECONDS = 60;

/** Starts a change and waits for its end; what does not exist (any more) ends at once. */
export async function change(
  gce: Gce,
  doing: string,
  client: Kind,
  method: string,
  request: Fields,
): Promise<'done' | 'missing'> {
  // So that a change whose answer was lost is known for the same when it is asked for again.
  const wish = { ...request, requestId: randomUUID() };
  const started = await gce.find<unknown>(doing, client, method, wish);
  if (started === undefined) return 'missing';
  const { error } = await finished(gce, doing, plain(started), request);
  const [first] = error?.errors ?? [];
  if (first === undefined) return 'done';
  if (/RESOURCE_NOT_FOUND/.test(first.code ?? '')) return 'missing';
  throw operationFailed(first, doing, String(request.zone ?? ''));
}

/** A long-running call hands out the operation within an envelope. */
function plain(started: unknown): Operation {
  const { latestResponse, ...rest } = started as { latestResponse?: Operation } & Operation;
  return latestResponse ?? rest;
}

/** Until it is done, by the call that waits at Google's side, or by asking again where there is no such call. */
async function finished(gce: Gce, doing: string, started: Operation, { zone, region }: Fields): Promise<Operation> {
  const [client, place] =
    zone !== undefined
      ? (['ZoneOperationsClient', { zone }] as const)
      : region !== undefined
        ? (['RegionOperationsClient', { region }] as const)
        : (['GlobalOperationsClient', {}] as const);
  const end = performance.now() + MINUTES * 60_000;
  let operation = started;
  for (let method = 'wait'; operation.status !== 'DONE';) {
    if (performance.now() > end) throw tooLong(doing, operation);
    const asked = performance.now();
    const request = { operation: operation.name, ...place };
    try {
      operation = plain(await gce.ask(doing, client, method, request));
    } catch (error) {
      if (method !== 'wait' || ![404, 405, 501].includes(statusOf(error) ?? 0)) throw error;
      method = 'get';
    }
    if (operation.status !== 'DONE' && performance.now() - asked < 400) await pauseFor(400, gce.call.signal);
  }
  return operation;
}

function tooLong(doing: string, { name = '' }: Operation): SlipwayError {
  return new SlipwayError('CREATE_TIMEOUT', `Compute Engine is not done after ${MINUTES} minutes (${doing}): ${name}`, {
    hint: 'Try again later; what exists of the machine is kept',
  });
}

export type Making = {
  /** What it is, for people and for the record: `firewall`. */
  readonly what: string;
  readonly mark: string;
  readonly client: Kind;
  readonly method: string;
  readonly request: Fields;
  /** Rejects when what is there under the name is somebody else's. */
  readonly isThere: () => Promise<boolean>;
  readonly zone: string;
};

/**
 * Makes a thing once, however often it is asked for: a wish has an id of its own, by which Google knows it again, and a name that
 * only one thing has. A wish that failed before is answered by its old failure, so the next one has another id.
 */
export async function makeOnce(gce: Gce, making: Making, call: MakingCall): Promise<void> {
  const doing = `making its ${making.what}`;
  const began = Date.now();
  for (let attempt = 1; ; attempt += 1) {
    const { operation, atOnce } = await asked(gce, making, attempt, call);
    const [error] = operation?.error?.errors ?? [];
    if (error === undefined) return;
    if (/ALREADY_EXISTS/.test(error.code ?? '') && (await appears(making, call))) return;
    const old = isOld(operation, began) || (atOnce && attempt === 1);
    if (attempt >= ATTEMPTS || !(old || isCapacity(error.code ?? ''))) throw operationFailed(error, doing, making.zone);
    if (old) continue;
    call.note(`${doing}: Compute Engine has no room in ${making.zone} (${error.code}); trying again`);
    await pauseFor(Math.min(1000 * 2 ** attempt, 15_000), call.signal);
  }
}

type Answer = { readonly operation?: Operation; readonly atOnce: boolean };

/** What became of it; no operation where the thing is there already. */
async function asked(gce: Gce, making: Making, attempt: number, call: MakingCall): Promise<Answer> {
  const doing = `making its ${making.what}`;
  // A wish for something else under the same name, as after an upgrade, is another wish.
  const id = requestId(making.mark, JSON.stringify([making.what, making.request]), attempt);
  try {
    const { client, method, request } = making;
    // Each try may be the one that Google hears: who looks for it later counts from the last.
    const told = async (): Promise<void> => call.asking(making.what);
    const started = plain(await gce.ask<unknown>(doing, client, method, { ...request, requestId: id }, told));
    return { operation: await finished(gce, doing, started, request), atOnce: started.status === 'DONE' };
  } catch (error) {
    if (statusOf(error) === 409 && (await appears(making, gce.call))) return { atOnce: true };
    throw error;
  }
}

/** Its name is taken: by what an earlier try asked for, which is shown when it is made. */
async function appears(making: Making, { signal }: Gce['call']): Promise<boolean> {
  const end = performance.now() + APPEARS_SECONDS * 1000;
  for (;;) {
    if (await making.isThere()) return true;
    if (performance.now() > end) return false;
    await pauseFor(500, signal);
  }
}

/** It failed before we asked. An emulator may not tell when; then one more try finds out. */
function isOld({ insertTime = '' }: Operation = {}, began: number): boolean {
  return Date.parse(insertTime) < began - 5000;
}

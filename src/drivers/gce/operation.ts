import { randomUUID } from 'node:crypto';
import { sleepUnlessCanceled } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { CreateCall } from '../contract.ts';
import type { ComputeClientName } from './api-methods.ts';
import type { RequestFields, GceConnection } from './client.ts';
import { isCapacityCode, operationError, httpStatusOf } from './errors.ts';
import { requestId } from './resource-names.ts';

/** As far as we read it. The package's own types of it are 32 MB of text. */
type ComputeOperation = {
  readonly name?: string;
  readonly status?: string;
  readonly insertTime?: string;
  readonly error?: { readonly errors?: readonly { readonly code?: string; readonly message?: string }[] };
};

const OPERATION_TIMEOUT_MINUTES = 15;
const MAX_CREATE_ATTEMPTS = 5;
const CONSISTENCY_RETRY_SECONDS = 60;

/** Starts a change and waits for its end; what does not exist (any more) ends at once. */
export async function runOperation(
  gce: GceConnection,
  doing: string,
  client: ComputeClientName,
  method: string,
  request: RequestFields,
): Promise<'done' | 'missing'> {
  // So that a change whose answer was lost is known for the same when it is asked for again.
  const wish = { ...request, requestId: randomUUID() };
  const started = await gce.find<unknown>(doing, client, method, wish);
  if (started === undefined) return 'missing';
  const { error } = await waitForOperation(gce, doing, unwrapOperation(started), request);
  const [first] = error?.errors ?? [];
  if (first === undefined) return 'done';
  if (/RESOURCE_NOT_FOUND/.test(first.code ?? '')) return 'missing';
  throw operationError(first, doing, String(request.zone ?? ''));
}

/** A long-running call hands out the operation within an envelope. */
function unwrapOperation(started: unknown): ComputeOperation {
  const { latestResponse, ...rest } = started as { latestResponse?: ComputeOperation } & ComputeOperation;
  return latestResponse ?? rest;
}

/** Until it is done, by the call that waits at Google's side, or by asking again where there is no such call. */
async function waitForOperation(
  gce: GceConnection,
  doing: string,
  started: ComputeOperation,
  { zone, region }: RequestFields,
): Promise<ComputeOperation> {
  const [client, place] =
    zone !== undefined
      ? (['ZoneOperationsClient', { zone }] as const)
      : region !== undefined
        ? (['RegionOperationsClient', { region }] as const)
        : (['GlobalOperationsClient', {}] as const);
  const end = performance.now() + OPERATION_TIMEOUT_MINUTES * 60_000;
  let operation = started;
  for (let method = 'wait'; operation.status !== 'DONE';) {
    if (performance.now() > end) throw operationTimeoutError(doing, operation);
    const asked = performance.now();
    const request = { operation: operation.name, ...place };
    try {
      operation = unwrapOperation(await gce.send(doing, client, method, request));
    } catch (error) {
      if (method !== 'wait' || ![404, 405, 501].includes(httpStatusOf(error) ?? 0)) throw error;
      method = 'get';
    }
    if (operation.status !== 'DONE' && performance.now() - asked < 400) await sleepUnlessCanceled(400, gce.call.signal);
  }
  return operation;
}

function operationTimeoutError(doing: string, { name = '' }: ComputeOperation): SlipwayError {
  return new SlipwayError(
    'CREATE_TIMEOUT',
    `Compute Engine is not done after ${OPERATION_TIMEOUT_MINUTES} minutes (${doing}): ${name}`,
    {
      hint: 'Try again later; what exists of the machine is kept',
    },
  );
}

export type ResourceCreation = {
  /** What it is, for people and for the record: `firewall`. */
  readonly what: string;
  readonly ownerId: string;
  readonly client: ComputeClientName;
  readonly method: string;
  readonly request: RequestFields;
  /** Rejects when what is there under the name is somebody else's. */
  readonly isVisible: () => Promise<boolean>;
  readonly zone: string;
};

/**
 * Makes a thing once, however often it is asked for: a wish has an id of its own, by which Google knows it again, and a name that
 * only one thing has. A wish that failed before is answered by its old failure, so the next one has another id.
 */
export async function createOnce(gce: GceConnection, making: ResourceCreation, call: CreateCall): Promise<void> {
  const doing = `making its ${making.what}`;
  const began = Date.now();
  for (let attempt = 1; ; attempt += 1) {
    const { operation, doneImmediately } = await sendCreation(gce, making, attempt, call);
    const [error] = operation?.error?.errors ?? [];
    if (error === undefined) return;
    if (/ALREADY_EXISTS/.test(error.code ?? '') && (await waitUntilResourceVisible(making, call))) return;
    const old = isEarlierFailure(operation, began) || (doneImmediately && attempt === 1);
    if (attempt >= MAX_CREATE_ATTEMPTS || !(old || isCapacityCode(error.code ?? '')))
      throw operationError(error, doing, making.zone);
    if (old) continue;
    call.note(`${doing}: Compute Engine has no room in ${making.zone} (${error.code}); trying again`);
    await sleepUnlessCanceled(Math.min(1000 * 2 ** attempt, 15_000), call.signal);
  }
}

type CreateAttempt = { readonly operation?: ComputeOperation; readonly doneImmediately: boolean };

/** What became of it; no operation where the thing is there already. */
async function sendCreation(
  gce: GceConnection,
  making: ResourceCreation,
  attempt: number,
  call: CreateCall,
): Promise<CreateAttempt> {
  const doing = `making its ${making.what}`;
  // A wish for something else under the same name, as after an upgrade, is another wish.
  const id = requestId(making.ownerId, JSON.stringify([making.what, making.request]), attempt);
  try {
    const { client, method, request } = making;
    // Each try may be the one that Google hears: who looks for it later counts from the last.
    const told = async (): Promise<void> => call.recordRequest(making.what);
    const started = unwrapOperation(
      await gce.send<unknown>(doing, client, method, { ...request, requestId: id }, told),
    );
    return {
      operation: await waitForOperation(gce, doing, started, request),
      doneImmediately: started.status === 'DONE',
    };
  } catch (error) {
    if (httpStatusOf(error) === 409 && (await waitUntilResourceVisible(making, gce.call)))
      return { doneImmediately: true };
    throw error;
  }
}

/** Its name is taken: by what an earlier try asked for, which is shown when it is made. */
async function waitUntilResourceVisible(making: ResourceCreation, { signal }: GceConnection['call']): Promise<boolean> {
  const end = performance.now() + CONSISTENCY_RETRY_SECONDS * 1000;
  for (;;) {
    if (await making.isVisible()) return true;
    if (performance.now() > end) return false;
    await sleepUnlessCanceled(500, signal);
  }
}

/** It failed before we asked. An emulator may not tell when; then one more try finds out. */
function isEarlierFailure({ insertTime = '' }: ComputeOperation = {}, began: number): boolean {
  return Date.parse(insertTime) < began - 5000;
}

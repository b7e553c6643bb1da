import { randomUUID } from 'node:crypto';
import { pollUntil } from '../cloud/eventual-consistency.ts';
import { RETRY_HINT } from '../cloud/errors.ts';
import { sleepUnlessCanceled } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { CreateCall } from '../contract.ts';
import type { ComputeClientName } from './api-methods.ts';
import type { RequestFields, GceConnection } from './client.ts';
import { isCapacityCode, operationError, httpStatusOf } from './errors.ts';
import { requestId } from './resource-names.ts';

/** The fields of an operation that this driver reads. The package's own types are 32 MB of text. */
type ComputeOperation = {
  readonly name?: string;
  readonly status?: string;
  readonly insertTime?: string;
  readonly error?: { readonly errors?: readonly { readonly code?: string; readonly message?: string }[] };
};

const OPERATION_TIMEOUT_MINUTES = 15;
const MAX_CREATE_ATTEMPTS = 5;
const MIN_POLL_MS = 400;
const CONSISTENCY_RETRY_SECONDS = 60;

/** Starts a change and waits until it is done. Resolves to `missing` if the resource does not exist (any more). */
export async function runOperation(
  gce: GceConnection,
  doing: string,
  client: ComputeClientName,
  method: string,
  request: RequestFields,
): Promise<'done' | 'missing'> {
  // The request id lets Google recognize a repeated request, whose first response was lost.
  const started = await gce.find<unknown>(doing, client, method, { ...request, requestId: randomUUID() });
  if (started === undefined) return 'missing';
  const { error } = await waitForOperation(gce, doing, unwrapOperation(started), request);
  const [first] = error?.errors ?? [];
  if (first === undefined) return 'done';
  if (/RESOURCE_NOT_FOUND/.test(first.code ?? '')) return 'missing';
  throw operationError(first, { doing, creates: method === 'insert', ...placeOf(gce, request) });
}

/** Returns where a request goes: its own project, or that of the connection, and its zone. */
function placeOf(
  gce: GceConnection,
  { project, zone }: RequestFields,
): { readonly project: string; readonly zone: string | undefined } {
  return {
    project: typeof project === 'string' ? project : gce.project,
    zone: typeof zone === 'string' && zone !== '' ? zone : undefined,
  };
}

/** The SDK returns the operation of a long-running call within an envelope. */
function unwrapOperation(started: unknown): ComputeOperation {
  const { latestResponse, ...rest } = started as { latestResponse?: ComputeOperation } & ComputeOperation;
  return latestResponse ?? rest;
}

/** Waits until an operation is done: with the method `wait`, or by polling if the endpoint does not have it. */
async function waitForOperation(
  gce: GceConnection,
  doing: string,
  started: ComputeOperation,
  { zone, region, project }: RequestFields,
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
    const sent = performance.now();
    const request = { operation: operation.name, ...place, ...(project === undefined ? {} : { project }) };
    try {
      operation = unwrapOperation(await gce.send(doing, client, method, request));
    } catch (error) {
      if (method !== 'wait' || ![404, 405, 501].includes(httpStatusOf(error) ?? 0)) throw error;
      method = 'get';
    }
    if (operation.status !== 'DONE' && performance.now() - sent < MIN_POLL_MS)
      await sleepUnlessCanceled(MIN_POLL_MS, gce.call.signal);
  }
  return operation;
}

function operationTimeoutError(doing: string, { name = '' }: ComputeOperation): SlipwayError {
  return new SlipwayError(
    'CREATE_TIMEOUT',
    `Compute Engine has not finished after ${OPERATION_TIMEOUT_MINUTES} minutes (${doing}): ${name}`,
    { hint: RETRY_HINT },
  );
}

export type ResourceCreation = {
  /** The name of the resource for messages and for the record: `firewall`. */
  readonly what: string;
  readonly ownerId: string;
  readonly client: ComputeClientName;
  readonly method: string;
  readonly request: RequestFields;
  /** Returns whether the resource shows. Rejects if another tool has created a resource with that name. */
  readonly isVisible: () => Promise<boolean>;
};

/**
 * Creates a resource once, however often it is requested: each request has its own id, by which Google recognizes a
 * repeated one, and a name that only one resource can have. Google repeats an old failure for a repeated request, so
 * the next attempt has another id.
 */
export async function createOnce(gce: GceConnection, creation: ResourceCreation, call: CreateCall): Promise<void> {
  const { what, request } = creation;
  const doing = `creating its ${what}`;
  const startedAt = Date.now();
  for (let attempt = 1; ; attempt += 1) {
    const { operation, refusal, doneImmediately } = await sendCreation(gce, creation, attempt, call);
    const [error] = operation?.error?.errors ?? [];
    if (error === undefined && refusal === undefined) {
      // Google repeats an old success too, even after the resource was deleted again.
      if (!doneImmediately || attempt >= MAX_CREATE_ATTEMPTS || (await creation.isVisible())) return;
      continue;
    }
    if (/ALREADY_EXISTS/.test(error?.code ?? '') && (await waitUntilResourceVisible(creation, call))) return;
    const isOld = isEarlierFailure(operation, startedAt) || (doneImmediately && attempt === 1);
    const isFull = refusal !== undefined || isCapacityCode(error?.code ?? '');
    if (attempt >= MAX_CREATE_ATTEMPTS || !(isOld || isFull))
      throw refusal ?? operationError(error ?? {}, { doing, creates: true, ...placeOf(gce, request) });
    if (isOld) continue;
    call.note(`${doing}: Compute Engine has no capacity in ${String(request.zone)}; trying again`);
    await sleepUnlessCanceled(Math.min(1000 * 2 ** attempt, 15_000), call.signal);
  }
}

type CreateAttempt = {
  readonly operation?: ComputeOperation;
  /** The error of a request that got no operation because the zone has no capacity. */
  readonly refusal?: SlipwayError;
  readonly doneImmediately: boolean;
};

/** Sends one request and waits for its operation. Returns no operation if the resource exists already. */
async function sendCreation(
  gce: GceConnection,
  creation: ResourceCreation,
  attempt: number,
  call: CreateCall,
): Promise<CreateAttempt> {
  const { what, ownerId, client, method, request } = creation;
  const doing = `creating its ${what}`;
  // A request for another body under the same name, as after an upgrade of Slipway, has another id.
  const id = requestId(ownerId, JSON.stringify([what, request]), attempt);
  try {
    // Before each attempt, because any of them may reach Google: a late result is expected after the last one.
    const record = (): Promise<void> => call.recordRequest(what);
    const started = unwrapOperation(
      await gce.send<unknown>(doing, client, method, { ...request, requestId: id }, record),
    );
    return {
      operation: await waitForOperation(gce, doing, started, request),
      doneImmediately: started.status === 'DONE',
    };
  } catch (error) {
    if (httpStatusOf(error) === 409 && (await waitUntilResourceVisible(creation, gce.call)))
      return { doneImmediately: true };
    if (error instanceof SlipwayError && error.code === 'CAPACITY') return { refusal: error, doneImmediately: false };
    throw error;
  }
}

/** Waits until the resource shows that already uses the name: an earlier attempt has requested it. */
async function waitUntilResourceVisible(
  { isVisible }: ResourceCreation,
  { signal }: GceConnection['call'],
): Promise<boolean> {
  return await pollUntil(isVisible, { seconds: CONSISTENCY_RETRY_SECONDS, milliseconds: 500 }, signal);
}

/**
 * Returns whether the operation failed before this command started. An emulator may not report the time; then one more
 * attempt shows whether it still fails.
 */
function isEarlierFailure({ insertTime = '' }: ComputeOperation = {}, startedAt: number): boolean {
  return Date.parse(insertTime) < startedAt - 5000;
}

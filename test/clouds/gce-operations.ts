import { setTimeout as sleep } from 'node:timers/promises';
import type { CloudCall } from './cloud.ts';
import { ApiError } from './cloud-server.ts';
import { invalidFieldError, notFoundError, PROJECT } from './compute-catalog.ts';
import {
  linkTo,
  type GceWorld,
  type Methods,
  type Operation,
  type OperationError,
  type RequestParams,
} from './gce-world.ts';

/** Google answers a wait after at most two minutes; the double sooner, so that tests cover a second wait. */
const MAX_WAIT_MS = 400;
const REQUEST_ID_TTL_MS = 60 * 60_000;

export type Change = {
  readonly scope: Operation['scope'];
  readonly place: string;
  readonly type: string;
  readonly target: string;
  readonly work: () => Promise<void>;
  /** Undoes the change if the operation has to fail. */
  readonly undo?: () => Promise<void>;
};

/**
 * Starts a change that continues in the background, and returns its operation. For the id of an earlier request,
 * returns the operation of that request, however it ended.
 */
export function startOperation(
  world: GceWorld,
  change: () => Change,
  call: CloudCall,
  requestId: string | undefined,
): object | Promise<object> {
  const what = JSON.stringify([call.operation, { ...call.params, requestId: undefined }]);
  const known = requestId === undefined ? undefined : world.requests.get(requestId);
  if (known && Date.now() - known.at < REQUEST_ID_TTL_MS) {
    if (known.what !== what) throw invalidFieldError('requestId', requestId, 'This id was used for another request.');
    return operationDocument(world, known.operation);
  }
  const { scope, place, type, target, work, undo } = change();
  const error = world.cloud.onOperation(call);
  const name = `operation-${Date.now()}-${world.nextNumber()}`;
  const run = async (): Promise<void> => {
    if (!world.cloud.isEmulator) await sleep(20);
    operation.status = 'RUNNING';
    if (error) await undo?.();
    else await work();
    operation.error = error;
    operation.status = 'DONE';
  };
  const operation: Operation = {
    name,
    place,
    scope,
    type,
    target,
    made: Date.now(),
    status: 'PENDING',
    error: undefined,
    done: Promise.resolve().then(run),
  };
  world.operations.push(operation);
  if (requestId !== undefined) world.requests.set(requestId, { what, operation, at: Date.now() });
  world.cloud.runInBackground(operation.done);
  return world.cloud.isEmulator
    ? operation.done.then(() => operationDocument(world, operation))
    : operationDocument(world, operation);
}

const placeFields = ({ scope, place }: Pick<Operation, 'scope' | 'place'>): object =>
  scope === 'global' ? {} : { [scope.slice(0, -1)]: linkTo(`${scope}/${place}`) };

function operationDocument(world: GceWorld, one: Operation): object {
  const { name, status, error, type, target, made, scope, place } = one;
  if (world.cloud.isEmulator) return { kind: 'compute#operation', name, status, ...placeFields(one), ...failed(error) };
  return {
    kind: 'compute#operation',
    id: `${made}${name.split('-').at(-1)}`,
    name,
    operationType: type,
    targetLink: linkTo(target),
    status,
    progress: status === 'DONE' ? 100 : 0,
    user: 'somebody@example.com',
    insertTime: new Date(made).toISOString(),
    ...(status === 'PENDING' ? {} : { startTime: new Date(made).toISOString() }),
    ...(status === 'DONE' ? { endTime: new Date().toISOString() } : {}),
    selfLink: linkTo(scope === 'global' ? `global/operations/${name}` : `${scope}/${place}/operations/${name}`),
    ...placeFields(one),
    ...failed(error),
  };
}

function failed(error: OperationError | undefined): object {
  return error === undefined
    ? {}
    : { error: { errors: [error] }, httpErrorStatusCode: 503, httpErrorMessage: 'SERVICE UNAVAILABLE' };
}

function operationAt(world: GceWorld, { operation, zone, region }: RequestParams): Operation {
  const place = zone ?? region ?? '';
  const found = world.operations.find((one) => one.name === operation && one.place === place);
  if (!found) throw notFoundError(`projects/${PROJECT}/operations/${operation}`);
  return found;
}

async function waitFor(world: GceWorld, params: RequestParams): Promise<object> {
  if (!world.cloud.supportsWait) throw new ApiError(501, 'notImplemented', 'wait is not implemented');
  const found = operationAt(world, params);
  await Promise.race([found.done.catch(() => {}), sleep(MAX_WAIT_MS)]);
  return operationDocument(world, found);
}

/** Returns a change of a resource in a zone. */
export const inZone = (zone: string, type: string, target: string, work: () => Promise<void>): Change => ({
  scope: 'zones',
  place: zone,
  type,
  target: `zones/${zone}/${target}`,
  work,
});

const get = (world: GceWorld, params: RequestParams): object => operationDocument(world, operationAt(world, params));

export const operationMethods: Methods = {
  'zoneOperations.get': get,
  'regionOperations.get': get,
  'globalOperations.get': get,
  'zoneOperations.wait': waitFor,
  'regionOperations.wait': waitFor,
  'globalOperations.wait': waitFor,
};

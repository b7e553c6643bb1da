import { createPublicKey, verify } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud, CloudCall, Guest, Guests, Resource } from './cloud.ts';
import { isConnectionAllowed, DEFAULT_RULES, type FirewallRule } from './compute-firewall.ts';
import { checkRequest, SchemaViolation } from './compute-schema.ts';
import {
  API_PATH,
  requireValidLabels,
  cpusOf,
  errorDocument,
  parseListFilter,
  fingerprintOf,
  imageFromLink,
  imageNamed,
  imageOfFamily,
  invalidFieldError,
  isCidr,
  resourceNameFrom,
  lastPathSegment,
  networkFromLink,
  notFoundError,
  PROJECT,
  PROJECT_NUMBER,
  REGIONS,
  regionOf,
  ApiError,
  SUBNETWORKS,
  alreadyExistsError,
  ZONES,
} from './compute-catalog.ts';

export const ACCESS_TOKEN = 'ya29.made-up-token-of-tests-that-must-never-be-seen-anywhere';
/** So few that all code that turns pages runs. */
const PAGE_SIZE = 2;
/** Google answers a wait after two minutes at the latest; we sooner, so that waiting again is seen. */
const MAX_WAIT_MS = 400;
const REQUEST_ID_TTL_MS = 60 * 60_000;

type Labels = Readonly<Record<string, string>>;
type MetadataItem = { readonly key: string; readonly value: string };
/** As far as we read it; the validator has seen all of it. */
type InstanceProperties = {
  readonly description?: string;
  readonly machineType: string;
  readonly labels?: Labels;
  readonly tags?: { readonly items?: readonly string[] };
  readonly metadata?: { readonly items?: readonly MetadataItem[] };
  readonly disks?: readonly {
    readonly boot?: boolean;
    readonly autoDelete?: boolean;
    readonly initializeParams?: {
      readonly sourceImage?: string;
      readonly diskSizeGb?: string;
      readonly diskType?: string;
      readonly labels?: Labels;
    };
  }[];
  readonly networkInterfaces?: readonly {
    readonly network?: string;
    readonly subnetwork?: string;
    readonly accessConfigs?: readonly { readonly natIP?: string; readonly type?: string; readonly name?: string }[];
  }[];
  readonly scheduling?: Readonly<Record<string, unknown>>;
  readonly guestAccelerators?: readonly { readonly acceleratorType: string; readonly acceleratorCount?: number }[];
};

type ListedResource = { readonly name: string; readonly place: string; readonly made: number };
export type GceInstance = ListedResource & {
  properties: InstanceProperties;
  status: 'PROVISIONING' | 'STAGING' | 'RUNNING' | 'STOPPING' | 'TERMINATED' | 'SUSPENDING' | 'SUSPENDED';
  labels: Labels;
  tags: readonly string[];
  metadata: readonly MetadataItem[];
  guestAttributes: readonly (MetadataItem & { readonly namespace: string })[] | undefined;
  /** Its insert has ended: until then nobody gets it, and it can't be changed. */
  there: boolean;
  guest: Guest | undefined;
  address: string | undefined;
  readonly internalIp: string;
};
type Disk = ListedResource & {
  readonly type: string;
  sizeGb: string;
  labels: Labels;
  attachedInstance: string | undefined;
  readonly autoDelete: boolean;
};
type Address = ListedResource & {
  readonly ip: string;
  readonly description: string;
  readonly labels: Labels;
  there: boolean;
};
export type ComputeFirewallRule = ListedResource &
  Omit<FirewallRule, 'sourceRanges' | 'priority'> & {
    readonly description: string;
    priority: number;
    sourceRanges: readonly string[];
    there: boolean;
  };
type OperationError = { readonly code: string; readonly message: string };
type Operation = ListedResource & {
  readonly scope: 'zones' | 'regions' | 'global';
  readonly type: string;
  readonly target: string;
  status: 'PENDING' | 'RUNNING' | 'DONE';
  error: OperationError | undefined;
  readonly done: Promise<void>;
};
type RequestParams = Readonly<Record<string, string>>;

export type Gce = Cloud & {
  readonly instances: readonly GceInstance[];
  /** Those that somebody made; Google's own of the network `default` are listed beside them. */
  readonly rules: readonly ComputeFirewallRule[];
  /** Whether all rules together let this address connect to that port of the instance. */
  isConnectionAllowed(address: string, port: number, instance: string): boolean;
  /** Takes a rule away, as somebody might by hand. */
  removeRule(name: string): void;
  readonly addresses: readonly Address[];
  /** Somebody else's, made behind everybody's back. */
  addInstance(how: {
    readonly name: string;
    readonly zone: string;
    readonly labels?: Labels;
    readonly keys?: string;
  }): GceInstance;
  addRule(name: string): void;
  addAddress(name: string, region: string, ip: string): void;
  addDisk(name: string, zone: string, labels: Labels): void;
  /** What becomes of the next operations: undefined lets them be. */
  onOperation: (call: CloudCall) => OperationError | undefined;
  quotas: Readonly<Record<string, { readonly limit: number; readonly usage: number }>>;
  /** Public keys, in PEM, of service accounts that may come in; by email. */
  readonly serviceAccountKeys: Map<string, string>;
  /** Whether operations can be waited for, or asked for only. */
  supportsWait: boolean;
  /** Whether it is an emulator: an operation is done as soon as it is answered, with few fields, and lists know no filters. */
  isEmulator: boolean;
};

/** Compute Engine as far as a driver of machines needs it, by its REST API, with hosts behind its instances. */
export async function startGce({
  guests,
  lateness = 0,
  bootTime = 100,
}: {
  readonly guests: Guests;
  readonly lateness?: number;
  readonly bootTime?: number;
}): Promise<Gce> {
  const instances: GceInstance[] = [];
  const disks: Disk[] = [];
  const addresses: Address[] = [];
  const rules: ComputeFirewallRule[] = [];
  const googles: readonly ComputeFirewallRule[] = DEFAULT_RULES.map((rule) => ({
    ...rule,
    place: '',
    made: 0,
    description: 'Of the network that each project begins with',
    there: true,
  }));
  const operations: Operation[] = [];
  const requests = new Map<string, { readonly what: string; readonly operation: Operation; readonly at: number }>();
  const tokens = new Set([ACCESS_TOKEN]);
  const calls: CloudCall[] = [];
  const failures: unknown[] = [];
  const works = new Set<Promise<void>>();
  const listed = <T extends ListedResource>(all: readonly T[]): readonly T[] =>
    all.filter(({ made }) => Date.now() >= made + cloud.lateness);
  let last = 0;
  const number = (): number => (last += 1);
  const take = <T>(all: T[], one: T): void => void (all.includes(one) && all.splice(all.indexOf(one), 1));

  // --- Operations ---------------------------------------------------------------------------------------------------------------

  type Change = {
    readonly scope: Operation['scope'];
    readonly place: string;
    readonly type: string;
    readonly target: string;
    readonly work: () => Promise<void>;
    /** Undoes what was begun, when the operation is to fail. */
    readonly undo?: () => Promise<void>;
  };

  /** Begins a change that goes on by itself. With a known id of a request, what that one began is handed out, however it ended. */
  function begin(change: () => Change, call: CloudCall, requestId: string | undefined): object | Promise<object> {
    const what = JSON.stringify([call.operation, { ...call.params, requestId: undefined }]);
    const known = requestId === undefined ? undefined : requests.get(requestId);
    if (known && Date.now() - known.at < REQUEST_ID_TTL_MS) {
      if (known.what !== what) throw invalidFieldError('requestId', requestId, 'This id was used for another request.');
      return shownOperation(known.operation);
    }
    const { scope, place, type, target, work, undo } = change();
    const error = cloud.onOperation(call);
    const name = `operation-${Date.now()}-${number()}`;
    const run = async (): Promise<void> => {
      if (!cloud.isEmulator) await sleep(20);
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
    operations.push(operation);
    if (requestId !== undefined) requests.set(requestId, { what, operation, at: Date.now() });
    go(operation.done);
    return cloud.isEmulator ? operation.done.then(() => shownOperation(operation)) : shownOperation(operation);
  }

  function go(work: Promise<void>): void {
    const watched = work.catch((error: unknown) => void failures.push(error)).finally(() => works.delete(watched));
    works.add(watched);
  }

  const link = (path: string): string => `https://www.googleapis.com${API_PATH}projects/${PROJECT}/${path}`;
  const placeFields = ({ scope, place }: Pick<Operation, 'scope' | 'place'>): object =>
    scope === 'global' ? {} : { [scope.slice(0, -1)]: link(`${scope}/${place}`) };

  function shownOperation(one: Operation): object {
    const { name, status, error, type, target, made, scope, place } = one;
    if (cloud.isEmulator) return { kind: 'compute#operation', name, status, ...placeFields(one), ...failed(error) };
    return {
      kind: 'compute#operation',
      id: `${made}${name.split('-').at(-1)}`,
      name,
      operationType: type,
      targetLink: link(target),
      status,
      progress: status === 'DONE' ? 100 : 0,
      user: 'somebody@example.com',
      insertTime: new Date(made).toISOString(),
      ...(status === 'PENDING' ? {} : { startTime: new Date(made).toISOString() }),
      ...(status === 'DONE' ? { endTime: new Date().toISOString() } : {}),
      selfLink: link(scope === 'global' ? `global/operations/${name}` : `${scope}/${place}/operations/${name}`),
      ...placeFields(one),
      ...failed(error),
    };
  }

  function failed(error: OperationError | undefined): object {
    return error === undefined
      ? {}
      : { error: { errors: [error] }, httpErrorStatusCode: 503, httpErrorMessage: 'SERVICE UNAVAILABLE' };
  }

  function operationAt({ operation, zone, region }: RequestParams): Operation {
    const place = zone ?? region ?? '';
    const found = operations.find((one) => one.name === operation && one.place === place);
    if (!found) throw notFoundError(`projects/${PROJECT}/operations/${operation}`);
    return found;
  }

  async function waitFor(params: RequestParams): Promise<object> {
    if (!cloud.supportsWait) throw new ApiError(501, 'notImplemented', 'wait is not implemented');
    const found = operationAt(params);
    await Promise.race([found.done.catch(() => {}), sleep(MAX_WAIT_MS)]);
    return shownOperation(found);
  }

  // --- Instances ----------------------------------------------------------------------------------------------------------------

  /** What is still being made is not there yet. */
  function at<T extends ListedResource & { readonly there?: boolean }>(
    all: readonly T[],
    name: string | undefined,
    place: string,
    kind: string,
  ): T {
    const found = all.find((one) => one.name === name && one.place === place && one.there !== false);
    if (!found) throw notFoundError(`projects/${PROJECT}/${place}/${kind}/${name}`);
    return found;
  }

  /** Get is consistent as soon as the insert is done, and knows nothing before. */
  function instanceAt({ instance, zone = '' }: RequestParams): GceInstance {
    const found = instances.find((one) => one.name === instance && one.place === zone);
    if (!found || (!found.there && Date.now() < found.made + cloud.lateness))
      throw notFoundError(`projects/${PROJECT}/zones/${zone}/instances/${instance}`);
    return found;
  }

  /** What is still being made can't be changed. */
  function changeable(params: RequestParams): GceInstance {
    const found = instanceAt(params);
    if (found.there) return found;
    throw new ApiError(400, 'resourceNotReady', `The resource '${found.place}/instances/${found.name}' is not ready`);
  }

  function shownInstance(one: GceInstance): object {
    const { name, place, properties, status, labels, tags, metadata, made, address, internalIp } = one;
    const [card] = properties.networkInterfaces ?? [];
    const [access] = card?.accessConfigs ?? [];
    const zone = link(`zones/${place}`);
    return {
      kind: 'compute#instance',
      id: `${made}`,
      name,
      creationTimestamp: new Date(made).toISOString(),
      ...(properties.description === undefined ? {} : { description: properties.description }),
      zone,
      status,
      machineType: `${zone}/machineTypes/${lastPathSegment(properties.machineType)}`,
      labels,
      labelFingerprint: fingerprintOf(labels),
      tags: { items: tags, fingerprint: fingerprintOf(tags) },
      metadata: { kind: 'compute#metadata', items: metadata, fingerprint: fingerprintOf(metadata) },
      scheduling: properties.scheduling ?? {},
      disks: disks
        .filter(({ attachedInstance }) => attachedInstance === name)
        .map((disk) => ({
          type: 'PERSISTENT',
          boot: true,
          source: link(`zones/${disk.place}/disks/${disk.name}`),
          diskSizeGb: disk.sizeGb,
          autoDelete: disk.autoDelete,
        })),
      networkInterfaces: [
        {
          name: 'nic0',
          network: link(`global/networks/${networkOf(one)}`),
          subnetwork: link(`regions/${regionOf(place)}/subnetworks/${lastPathSegment(card?.subnetwork ?? 'default')}`),
          ...(status === 'PROVISIONING' ? {} : { networkIP: internalIp }),
          ...(access ? { accessConfigs: [{ ...access, ...(address === undefined ? {} : { natIP: address }) }] } : {}),
        },
      ],
      selfLink: `${zone}/instances/${name}`,
    };
  }

  /** An address of one's own stays; else what the guest has. Instances without access have none. */
  function addressFor({ properties }: GceInstance, guest: string): string | undefined {
    const [access] = properties.networkInterfaces?.[0]?.accessConfigs ?? [];
    return access === undefined ? undefined : (access.natIP ?? guest);
  }

  function networkOf({ place, properties }: GceInstance): string {
    const [card] = properties.networkInterfaces ?? [];
    if (card?.network !== undefined) return networkFromLink(card.network);
    const wanted = lastPathSegment(card?.subnetwork ?? 'default');
    return SUBNETWORKS.find(({ name, region }) => name === wanted && region === regionOf(place))?.network ?? 'default';
  }

  function checkProperties(given: InstanceProperties, zone: string, bulk: boolean): void {
    const named = (kind: string, value: string, field: string): string =>
      resourceNameFrom(kind, value, zone, bulk, field);
    named('machineTypes', given.machineType, 'resource.machineType');
    requireValidLabels(given.labels ?? {}, 'resource.labels');
    if ((given.description ?? '').length > 2048)
      throw invalidFieldError('resource.description', given.description, 'Too long.');
    const keys = (given.metadata?.items ?? []).map(({ key }) => key);
    if (new Set(keys).size < keys.length)
      throw invalidFieldError('resource.metadata', keys, 'Metadata has duplicate keys.');
    const [disk, ...others] = given.disks ?? [];
    const first = disk?.initializeParams;
    if (!disk?.boot || others.length > 0 || first?.sourceImage === undefined)
      throw invalidFieldError('resource.disks', '', 'One boot disk is needed.');
    imageFromLink(first.sourceImage);
    if (first.diskType !== undefined) named('diskTypes', first.diskType, 'resource.disks[0].initializeParams.diskType');
    requireValidLabels(first.labels ?? {}, 'resource.disks[0].initializeParams.labels');
    for (const one of given.guestAccelerators ?? [])
      named('acceleratorTypes', one.acceleratorType, 'resource.guestAccelerators[0].acceleratorType');
    checkScheduling(given);
    checkCards(given, zone);
  }

  function checkScheduling({ scheduling = {}, guestAccelerators = [] }: InstanceProperties): void {
    const { provisioningModel, preemptible, automaticRestart, onHostMaintenance, instanceTerminationAction } =
      scheduling;
    const passing = provisioningModel === 'SPOT' || preemptible === true;
    if (passing && automaticRestart !== false)
      throw invalidFieldError(
        'resource.scheduling',
        'automaticRestart',
        'Scheduling must have automaticRestart be false when preemptible.',
      );
    if ((passing || guestAccelerators.length > 0) && onHostMaintenance !== 'TERMINATE')
      throw invalidFieldError('resource.scheduling', 'onHostMaintenance', 'Must be TERMINATE.');
    if (instanceTerminationAction !== undefined && provisioningModel !== 'SPOT')
      throw invalidFieldError('resource.scheduling', 'instanceTerminationAction', 'Only for Spot VMs.');
  }

  function checkCards({ networkInterfaces = [] }: InstanceProperties, zone: string): void {
    const [card, ...others] = networkInterfaces;
    if (!card || others.length > 0) throw invalidFieldError('resource.networkInterfaces', '', 'One is needed.');
    if (card.network !== undefined) networkFromLink(card.network);
    if (card.subnetwork !== undefined) {
      const [, region, name] = /regions\/([^/]+)\/subnetworks\/([^/]+)$/.exec(card.subnetwork) ?? [];
      if (region !== regionOf(zone) || !SUBNETWORKS.some((one) => one.region === region && one.name === name))
        throw invalidFieldError(
          'resource.networkInterfaces[0].subnetwork',
          card.subnetwork,
          'The referenced subnetwork resource cannot be found.',
        );
    }
    const natIP = card.accessConfigs?.[0]?.natIP;
    if (natIP === undefined) return;
    const reserved = addresses.find(({ ip, place }) => ip === natIP && place === regionOf(zone));
    if (!reserved)
      throw invalidFieldError(
        'resource.networkInterfaces[0].accessConfigs[0].natIP',
        natIP,
        'The specified external IP address was not found.',
      );
    if (userOf(reserved))
      throw new ApiError(400, 'resourceInUseByAnotherResource', `External IP address ${natIP} is already in-use.`);
  }

  function checkQuota(zone: string, machineType: string, count: number): void {
    const quota = cloud.quotas.CPUS;
    if (quota && quota.usage + (cpusOf(lastPathSegment(machineType)) ?? 0) * count > quota.limit)
      throw new ApiError(
        403,
        'quotaExceeded',
        `Quota 'CPUS' exceeded.  Limit: ${quota.limit}.0 in region ${regionOf(zone)}.`,
      );
  }

  function newInstance(name: string, zone: string, properties: InstanceProperties): GceInstance {
    return {
      name,
      place: zone,
      made: Date.now(),
      properties,
      status: 'PROVISIONING',
      labels: properties.labels ?? {},
      tags: properties.tags?.items ?? [],
      metadata: properties.metadata?.items ?? [],
      guestAttributes: undefined,
      there: false,
      guest: undefined,
      address: undefined,
      internalIp: `10.128.0.${(number() % 250) + 2}`,
    };
  }

  /** Each with a disk of its name. They exist from now on, whatever is shown of them. */
  function insert(names: readonly string[], zone: string, properties: InstanceProperties): readonly GceInstance[] {
    for (const name of names)
      if (instances.some((one) => one.name === name && one.place === zone))
        throw alreadyExistsError(`projects/${PROJECT}/zones/${zone}/instances/${name}`);
    return names.map((name) => {
      const [disk] = properties.disks ?? [];
      const { diskSizeGb = '10', diskType = 'pd-standard', labels = {} } = disk?.initializeParams ?? {};
      const one = newInstance(name, zone, properties);
      instances.push(one);
      disks.push({
        name,
        place: zone,
        made: one.made,
        type: lastPathSegment(diskType),
        sizeGb: diskSizeGb,
        labels,
        attachedInstance: name,
        autoDelete: disk?.autoDelete === true,
      });
      return one;
    });
  }

  /** What an insert that fails leaves: nothing. */
  async function withdraw(made: readonly GceInstance[]): Promise<void> {
    for (const one of made) {
      take(instances, one);
      for (const disk of disks.filter(
        ({ attachedInstance, place }) => attachedInstance === one.name && place === one.place,
      ))
        take(disks, disk);
    }
  }

  /** The operation is done when the machine has begun to start; it runs when it has started. */
  async function provisionAll(made: readonly GceInstance[]): Promise<void> {
    await sleep(cloud.bootTime);
    for (const one of made) {
      one.status = 'STAGING';
      one.there = true;
      // A guest that can't be made fails the test; the client shall not wait for it.
      go(
        boot(one).catch((error: unknown) => {
          one.status = 'TERMINATED';
          throw error;
        }),
      );
    }
  }

  async function boot(one: GceInstance): Promise<void> {
    const userData = Object.fromEntries(one.metadata.map(({ key, value }) => [key, value]));
    const guest = await guests.start({ name: one.name, userData });
    if (!instances.includes(one) || one.status !== 'STAGING') return guest.remove();
    one.guest = guest;
    one.address = addressFor(one, guest.address);
    await sleep(cloud.bootTime);
    if (one.status === 'STAGING') one.status = 'RUNNING';
  }

  const inZone = (zone: string, type: string, target: string, work: () => Promise<void>): Change => ({
    scope: 'zones',
    place: zone,
    type,
    target: `zones/${zone}/${target}`,
    work,
  });

  async function destroy(one: GceInstance): Promise<void> {
    one.status = 'STOPPING';
    await one.guest?.remove();
    await sleep(cloud.bootTime);
    take(instances, one);
    for (const disk of disks.filter(
      ({ attachedInstance, place }) => attachedInstance === one.name && place === one.place,
    )) {
      if (disk.autoDelete) take(disks, disk);
      else disk.attachedInstance = undefined;
    }
  }

  async function halt(one: GceInstance, through: GceInstance['status'], end: GceInstance['status']): Promise<void> {
    if (one.status !== 'RUNNING' && one.status !== 'STAGING') return;
    one.status = through;
    await one.guest?.stop();
    one.address = undefined;
    one.status = end;
  }

  async function wake(one: GceInstance): Promise<void> {
    if (one.status !== 'TERMINATED' && one.status !== 'SUSPENDED') return;
    one.status = 'STAGING';
    one.address = addressFor(one, (await one.guest?.start()) ?? '203.0.113.254');
    await sleep(cloud.bootTime);
    one.status = 'RUNNING';
  }

  /** Of start, stop, suspend and resume: from which states, and what they do. */
  function power(type: string, from: readonly GceInstance['status'][], work: (one: GceInstance) => Promise<void>) {
    return (params: RequestParams, _body: unknown, call: CloudCall): object | Promise<object> => {
      const one = changeable(params);
      return begin(
        () => {
          if (!from.includes(one.status))
            throw new ApiError(400, 'invalid', `Invalid resource state: instance is ${one.status}, can't ${type}.`);
          return inZone(one.place, type, `instances/${one.name}`, () => work(one));
        },
        call,
        params.requestId,
      );
    };
  }

  function setting(
    type: string,
    fingerprint: (one: GceInstance) => string,
    set: (one: GceInstance, body: never) => void,
  ) {
    return (params: RequestParams, body: unknown, call: CloudCall): object | Promise<object> => {
      const one = changeable(params);
      return begin(
        () => {
          const { fingerprint: given, labelFingerprint = given } = body as Record<string, string | undefined>;
          if (labelFingerprint !== fingerprint(one))
            throw new ApiError(412, 'conditionNotMet', 'Supplied fingerprint does not match current fingerprint.');
          return inZone(one.place, type, `instances/${one.name}`, async () => set(one, body as never));
        },
        call,
        params.requestId,
      );
    };
  }

  // --- Lists --------------------------------------------------------------------------------------------------------------------

  function paged<T>(
    all: readonly T[],
    { pageToken, maxResults }: RequestParams,
  ): { items: readonly T[]; nextPageToken?: string } {
    const from = Number(pageToken ?? 0);
    const to = from + Math.min(PAGE_SIZE, Number(maxResults ?? PAGE_SIZE));
    return { items: all.slice(from, to), ...(to < all.length ? { nextPageToken: String(to) } : {}) };
  }

  function list<T extends ListedResource>(
    all: readonly T[],
    params: RequestParams,
    labels: (one: T) => Labels,
    shown: (one: T) => object,
  ): object {
    const matches = cloud.isEmulator ? () => true : parseListFilter(params.filter);
    const { items, nextPageToken } = paged(
      listed(all).filter((one) => matches(labels(one))),
      params,
    );
    return {
      ...(items.length > 0 ? { items: items.map(shown) } : {}),
      ...(nextPageToken === undefined ? {} : { nextPageToken }),
    };
  }

  function aggregated<T extends ListedResource>(
    [kind, scope, places]: readonly [string, string, readonly string[]],
    all: readonly T[],
    params: RequestParams,
    labels: (one: T) => Labels,
    shown: (one: T) => object,
  ): object {
    const matches = cloud.isEmulator ? () => true : parseListFilter(params.filter);
    const { items, nextPageToken } = paged(
      listed(all).filter((one) => matches(labels(one))),
      params,
    );
    const scoped = places.map((place) => {
      const here = items.filter((one) => one.place === place).map(shown);
      const empty = {
        warning: {
          code: 'NO_RESULTS_ON_PAGE',
          message: `There are no results for scope '${scope}/${place}' on this page.`,
          data: [{ key: 'scope', value: `${scope}/${place}` }],
        },
      };
      return [`${scope}/${place}`, here.length > 0 ? { [kind]: here } : empty] as const;
    });
    return { items: Object.fromEntries(scoped), ...(nextPageToken === undefined ? {} : { nextPageToken }) };
  }

  const shownDisk = (one: Disk): object => ({
    kind: 'compute#disk',
    name: one.name,
    zone: link(`zones/${one.place}`),
    type: link(`zones/${one.place}/diskTypes/${one.type}`),
    sizeGb: one.sizeGb,
    status: 'READY',
    labels: one.labels,
    labelFingerprint: fingerprintOf(one.labels),
    creationTimestamp: new Date(one.made).toISOString(),
    ...(one.attachedInstance === undefined
      ? {}
      : { users: [link(`zones/${one.place}/instances/${one.attachedInstance}`)] }),
  });

  function userOf({ ip }: Address): GceInstance | undefined {
    return instances.find(({ properties }) => properties.networkInterfaces?.[0]?.accessConfigs?.[0]?.natIP === ip);
  }

  const shownAddress = (one: Address): object => ({
    kind: 'compute#address',
    name: one.name,
    address: one.ip,
    addressType: 'EXTERNAL',
    description: one.description,
    region: link(`regions/${one.place}`),
    status: userOf(one) ? 'IN_USE' : 'RESERVED',
    labels: one.labels,
    creationTimestamp: new Date(one.made).toISOString(),
  });

  const shownRule = ({
    name,
    description,
    network,
    priority,
    sourceRanges,
    made,
    ...rule
  }: ComputeFirewallRule): object => ({
    kind: 'compute#firewall',
    name,
    description,
    network: link(`global/networks/${network}`),
    direction: 'INGRESS',
    priority,
    ...(rule.allowed.length > 0 ? { allowed: rule.allowed } : {}),
    ...(rule.denied.length > 0 ? { denied: rule.denied } : {}),
    sourceRanges,
    ...(rule.targetTags.length > 0 ? { targetTags: rule.targetTags } : {}),
    creationTimestamp: new Date(made).toISOString(),
  });

  const noLabels = (): Labels => ({});

  // --- Methods ------------------------------------------------------------------------------------------------------------------

  type Perform = (params: RequestParams, body: unknown, call: CloudCall) => object | Promise<object>;

  const methods: Readonly<Record<string, Perform>> = {
    'zones.get': ({ zone = '' }) => ({
      kind: 'compute#zone',
      name: zone,
      status: 'UP',
      region: link(`regions/${regionOf(zone)}`),
    }),
    'zones.list': (params) =>
      list(
        ZONES.map((name) => ({ name, place: 'global', made: 0 })),
        params,
        noLabels,
        ({ name }) => ({ kind: 'compute#zone', name, status: 'UP' }),
      ),
    'machineTypes.list': (params) =>
      list(
        ['a2-highgpu-1g', 'e2-standard-4', 'e2-medium', 'e2-micro', 'n2-standard-2', 'c3-standard-88'].map((name) => ({
          name,
          place: 'global',
          made: 0,
        })),
        params,
        noLabels,
        ({ name }) => ({ kind: 'compute#machineType', name, guestCpus: cpusOf(name) ?? 12, memoryMb: 4096 }),
      ),
    'regions.get': ({ region }) => ({
      kind: 'compute#region',
      name: region,
      status: 'UP',
      ...(cloud.isEmulator
        ? {}
        : { quotas: Object.entries(cloud.quotas).map(([metric, quota]) => ({ metric, ...quota })) }),
    }),
    'machineTypes.get'({ machineType = '', zone }) {
      const guestCpus = cpusOf(machineType);
      if (guestCpus === undefined) throw notFoundError(`projects/${PROJECT}/zones/${zone}/machineTypes/${machineType}`);
      const architecture = machineType.startsWith('c4a-') ? 'ARM64' : 'X86_64';
      return { kind: 'compute#machineType', name: machineType, guestCpus, memoryMb: guestCpus * 2048, architecture };
    },
    'images.get': ({ project = '', image = '' }) => shownImage(imageNamed(project, image)),
    'images.getFromFamily': ({ project = '', family = '' }) => shownImage(imageOfFamily(project, family)),
    'subnetworks.get'({ region, subnetwork }) {
      const found = SUBNETWORKS.find((one) => one.region === region && one.name === subnetwork);
      if (!found) throw notFoundError(`projects/${PROJECT}/regions/${region}/subnetworks/${subnetwork}`);
      return {
        kind: 'compute#subnetwork',
        name: found.name,
        network: link(`global/networks/${found.network}`),
        ipCidrRange: found.name === 'default' ? '10.128.0.0/20' : '10.9.0.0/16',
      };
    },
    'zoneOperations.get': (params) => shownOperation(operationAt(params)),
    'regionOperations.get': (params) => shownOperation(operationAt(params)),
    'globalOperations.get': (params) => shownOperation(operationAt(params)),
    'zoneOperations.wait': waitFor,
    'regionOperations.wait': waitFor,
    'globalOperations.wait': waitFor,
    'instances.get': (params) => shownInstance(instanceAt(params)),
    'instances.list': (params) =>
      list(
        instances.filter(({ place }) => place === params.zone),
        params,
        ({ labels }) => labels,
        shownInstance,
      ),
    'instances.aggregatedList': (params) =>
      aggregated(['instances', 'zones', ZONES], instances, params, ({ labels }) => labels, shownInstance),
    'instances.insert'({ zone = '', requestId }, body, call) {
      return begin(
        () => {
          const { name, ...properties } = body as InstanceProperties & { name: string };
          checkProperties(properties, zone, false);
          checkQuota(zone, properties.machineType, 1);
          const made = insert([name], zone, properties);
          const change = inZone(zone, 'insert', `instances/${name}`, () => provisionAll(made));
          return { ...change, undo: () => withdraw(made) };
        },
        call,
        requestId,
      );
    },
    'instances.bulkInsert'({ zone = '', requestId }, body, call) {
      return begin(
        () => {
          const {
            count,
            minCount = count,
            perInstanceProperties = {},
            instanceProperties,
          } = body as {
            count: string;
            minCount?: string;
            perInstanceProperties?: Record<string, { name?: string }>;
            instanceProperties: InstanceProperties;
          };
          const names = Object.keys(perInstanceProperties);
          if (names.length !== Number(count) || minCount !== count)
            throw invalidFieldError('resource.count', count, 'The number of names differs.');
          if (Object.values(perInstanceProperties).some(({ name }) => name !== undefined))
            throw invalidFieldError('resource.perInstanceProperties', '', 'name is only temporary. Do not use it.');
          checkProperties(instanceProperties, zone, true);
          checkQuota(zone, instanceProperties.machineType, names.length);
          const made = insert(names, zone, instanceProperties);
          const change = inZone(zone, 'bulkInsert', `instances/${names[0]}`, () => provisionAll(made));
          return { ...change, undo: () => withdraw(made) };
        },
        call,
        requestId,
      );
    },
    'instances.delete'(params, _body, call) {
      const one = changeable(params);
      return begin(
        () => inZone(one.place, 'delete', `instances/${one.name}`, () => destroy(one)),
        call,
        params.requestId,
      );
    },
    // Starting one that runs and stopping one that is stopped is done at once.
    'instances.start': power('start', ['TERMINATED', 'RUNNING', 'STAGING'], wake),
    'instances.stop': power('stop', ['RUNNING', 'STAGING', 'STOPPING', 'TERMINATED'], (one) =>
      halt(one, 'STOPPING', 'TERMINATED'),
    ),
    'instances.suspend': power('suspend', ['RUNNING'], (one) => halt(one, 'SUSPENDING', 'SUSPENDED')),
    'instances.resume': power('resume', ['SUSPENDED'], wake),
    'instances.setMetadata': setting(
      'setMetadata',
      ({ metadata }) => fingerprintOf(metadata),
      (one, { items = [] }: { items?: readonly MetadataItem[] }) => void (one.metadata = items),
    ),
    'instances.setTags': setting(
      'setTags',
      ({ tags }) => fingerprintOf(tags),
      (one, { items = [] }: { items?: readonly string[] }) => void (one.tags = items),
    ),
    'instances.setMachineType'(params, body, call) {
      const one = changeable(params);
      const { machineType = '' } = body as { machineType?: string };
      return begin(
        () => {
          if (one.status !== 'TERMINATED')
            throw new ApiError(
              400,
              'resourceNotReady',
              'The machine type can be changed while the instance is stopped.',
            );
          return inZone(one.place, 'setMachineType', `instances/${one.name}`, async () => {
            one.properties = { ...one.properties, machineType };
          });
        },
        call,
        params.requestId,
      );
    },
    'instances.setLabels': setting(
      'setLabels',
      ({ labels }) => fingerprintOf(labels),
      (one, { labels = {} }: { labels?: Labels }) => {
        requireValidLabels(labels, 'resource.labels');
        one.labels = labels;
      },
    ),
    'instances.getGuestAttributes'(params) {
      const { guestAttributes } = instanceAt(params);
      if (!guestAttributes) throw new ApiError(412, 'conditionNotMet', 'Guest attributes endpoint access is disabled.');
      const items = guestAttributes.filter(({ namespace }) => `${namespace}/` === params.queryPath);
      if (items.length === 0) throw notFoundError(`${params.zone}/instances/${params.instance}/guestAttributes`);
      return { kind: 'compute#guestAttributes', queryPath: params.queryPath, queryValue: { items } };
    },
    'disks.list': (params) =>
      list(
        disks.filter(({ place }) => place === params.zone),
        params,
        ({ labels }) => labels,
        shownDisk,
      ),
    'disks.aggregatedList': (params) =>
      aggregated(['disks', 'zones', ZONES], disks, params, ({ labels }) => labels, shownDisk),
    'disks.get': ({ zone = '', disk }) => shownDisk(at(disks, disk, zone, 'disks')),
    'disks.setLabels'({ zone = '', resource, requestId }, body, call) {
      const one = at(disks, resource, zone, 'disks');
      const { labels = {}, labelFingerprint } = body as { labels?: Labels; labelFingerprint?: string };
      requireValidLabels(labels, 'resource.labels');
      if (labelFingerprint !== fingerprintOf(one.labels))
        throw new ApiError(412, 'conditionNotMet', 'Labels fingerprint either invalid or resource labels have changed');
      return begin(
        () => inZone(zone, 'setLabels', `disks/${resource}`, async () => void (one.labels = labels)),
        call,
        requestId,
      );
    },
    'disks.resize'({ zone = '', disk, requestId }, body, call) {
      const one = at(disks, disk, zone, 'disks');
      const { sizeGb = '0' } = body as { sizeGb?: string };
      if (Number(sizeGb) <= Number(one.sizeGb))
        throw invalidFieldError('sizeGb', sizeGb, 'It must be larger than the disk is.');
      return begin(
        () => inZone(zone, 'resizeDisk', `disks/${disk}`, async () => void (one.sizeGb = sizeGb)),
        call,
        requestId,
      );
    },
    'disks.delete'({ zone = '', disk, requestId }, _body, call) {
      const one = at(disks, disk, zone, 'disks');
      if (one.attachedInstance !== undefined)
        throw new ApiError(
          400,
          'resourceInUseByAnotherResource',
          `The disk resource '${disk}' is already being used by '${one.attachedInstance}'`,
        );
      return begin(() => inZone(zone, 'delete', `disks/${disk}`, async () => take(disks, one)), call, requestId);
    },
    'addresses.get': ({ region = '', address }) => shownAddress(at(addresses, address, region, 'addresses')),
    'addresses.list': (params) =>
      list(
        addresses.filter(({ place }) => place === params.region),
        params,
        ({ labels }) => labels,
        shownAddress,
      ),
    'addresses.aggregatedList': (params) =>
      aggregated(['addresses', 'regions', REGIONS], addresses, params, ({ labels }) => labels, shownAddress),
    'addresses.insert'({ region = '', requestId }, body, call) {
      const { name, description = '', labels = {} } = body as { name: string; description?: string; labels?: Labels };
      return begin(
        () => {
          if (addresses.some((one) => one.name === name && one.place === region))
            throw alreadyExistsError(`projects/${PROJECT}/regions/${region}/addresses/${name}`);
          requireValidLabels(labels, 'resource.labels');
          const ip = `203.0.113.${number() % 250}`;
          const one = { name, place: region, made: Date.now(), ip, description, labels, there: false };
          addresses.push(one);
          const undo = async (): Promise<void> => take(addresses, one);
          return {
            scope: 'regions',
            place: region,
            type: 'insert',
            target: `regions/${region}/addresses/${name}`,
            work: async () => void (one.there = true),
            undo,
          };
        },
        call,
        requestId,
      );
    },
    'addresses.delete'({ region = '', address, requestId }, _body, call) {
      const one = at(addresses, address, region, 'addresses');
      const user = userOf(one);
      if (user)
        throw new ApiError(
          400,
          'resourceInUseByAnotherResource',
          `The address resource '${address}' is already being used by '${user.name}'`,
        );
      const work = async (): Promise<void> => take(addresses, one);
      return begin(
        () => ({
          scope: 'regions',
          place: region,
          type: 'delete',
          target: `regions/${region}/addresses/${address}`,
          work,
        }),
        call,
        requestId,
      );
    },
    'firewalls.get': ({ firewall }) => shownRule(at([...googles, ...rules], firewall, '', 'firewalls')),
    'firewalls.list': (params) => list([...googles, ...rules], params, noLabels, shownRule),
    'firewalls.insert'({ requestId }, body, call) {
      return begin(
        () => {
          const rule = newRule(body as Partial<ComputeFirewallRule> & { name: string });
          rules.push(rule);
          const undo = async (): Promise<void> => take(rules, rule);
          return {
            scope: 'global',
            place: '',
            type: 'insert',
            target: `global/firewalls/${rule.name}`,
            work: async () => void (rule.there = true),
            undo,
          };
        },
        call,
        requestId,
      );
    },
    'firewalls.patch'({ firewall, requestId }, body, call) {
      const rule = at(rules, firewall, '', 'firewalls');
      return begin(
        () => {
          const { sourceRanges = rule.sourceRanges, priority = rule.priority } = body as Partial<ComputeFirewallRule>;
          checkRanges(sourceRanges);
          const work = async (): Promise<void> => void Object.assign(rule, { sourceRanges, priority });
          return { scope: 'global', place: '', type: 'patch', target: `global/firewalls/${firewall}`, work };
        },
        call,
        requestId,
      );
    },
    'firewalls.delete'({ firewall, requestId }, _body, call) {
      const rule = at(rules, firewall, '', 'firewalls');
      const work = async (): Promise<void> => take(rules, rule);
      return begin(
        () => ({ scope: 'global', place: '', type: 'delete', target: `global/firewalls/${firewall}`, work }),
        call,
        requestId,
      );
    },
  };

  function newRule(given: Partial<ComputeFirewallRule> & { readonly name: string }): ComputeFirewallRule {
    const {
      name,
      description = '',
      network = 'global/networks/default',
      priority = 1000,
      allowed = [],
      denied = [],
      sourceRanges = [],
      targetTags = [],
    } = given;
    if (rules.some((rule) => rule.name === name))
      throw alreadyExistsError(`projects/${PROJECT}/global/firewalls/${name}`);
    if (description.length > 2048) throw invalidFieldError('resource.description', description, 'Too long.');
    if ((allowed.length === 0) === (denied.length === 0))
      throw invalidFieldError('resource.allowed', '', 'A rule allows or denies.');
    if ([...allowed, ...denied].some(({ IPProtocol }) => IPProtocol === undefined))
      throw invalidFieldError('resource.allowed', '', 'A protocol is needed.');
    checkRanges(sourceRanges);
    return {
      name,
      place: '',
      made: Date.now(),
      description,
      network: networkFromLink(network),
      priority,
      allowed,
      denied,
      sourceRanges,
      targetTags,
      there: false,
    };
  }

  function checkRanges(ranges: readonly string[]): void {
    const wrong = ranges.find((range) => !isCidr(range));
    if (wrong !== undefined || ranges.length === 0)
      throw invalidFieldError('resource.sourceRanges', wrong, 'Must be a CIDR range.');
    if (new Set(ranges.map((range) => range.includes(':'))).size > 1)
      throw invalidFieldError('resource.sourceRanges', ranges, "IPv4 and IPv6 ranges can't be mixed.");
  }

  const shownImage = ({ project, family, name }: { project: string; family: string; name: string }): object => ({
    kind: 'compute#image',
    name,
    family,
    status: 'READY',
    ...(cloud.isEmulator
      ? {}
      : { selfLink: `https://www.googleapis.com${API_PATH}projects/${project}/global/images/${name}` }),
  });

  // --- HTTP ---------------------------------------------------------------------------------------------------------------------

  function authorize({ headers: { authorization = '' } }: IncomingMessage): void {
    const [, token = ''] = /^Bearer (\S+)$/.exec(authorization) ?? [];
    if (tokens.has(token) || isSigned(token, cloud.serviceAccountKeys)) return;
    throw new ApiError(
      401,
      'authError',
      'Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.',
    );
  }

  function checkPlace({ project = '', zone, region }: RequestParams, operation: string): void {
    const known = operation.startsWith('compute.images.') || [PROJECT, PROJECT_NUMBER].includes(project);
    if (!known) throw new ApiError(403, 'forbidden', `Required '${operation}' permission for 'projects/${project}'`);
    if (zone !== undefined && !ZONES.includes(zone)) throw notFoundError(`projects/${project}/zones/${zone}`);
    if (region !== undefined && !REGIONS.includes(region)) throw notFoundError(`projects/${project}/regions/${region}`);
  }

  async function perform(call: CloudCall, params: RequestParams, body: unknown): Promise<object> {
    checkPlace(params, call.operation);
    const method = methods[call.operation.replace('compute.', '')];
    if (!method) throw new ApiError(501, 'notImplemented', `${call.operation} is not part of this double`);
    return await method(params, body, call);
  }

  function readRequest(
    request: IncomingMessage,
    text: string,
  ): { call: CloudCall; params: RequestParams; body: unknown } {
    const { method = '', url = '' } = request;
    const { pathname, searchParams } = new URL(url, 'http://compute');
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    const { id, params } = checkRequest({ method, path: pathname, query: searchParams, body });
    const call: CloudCall = {
      n: calls.length + 1,
      operation: id,
      mutates: method !== 'GET' && !id.endsWith('Operations.wait'),
      params: { ...params, ...(body === undefined ? {} : { body }) },
    };
    return { call, params, body };
  }

  function send(response: ServerResponse, status: number, document: object, sent?: () => void): void {
    // The client may be gone: what it asked for is done all the same.
    response.on('error', () => {});
    response
      .writeHead(status, { 'content-type': 'application/json; charset=UTF-8' })
      .end(`${JSON.stringify(document, undefined, 2)}\n`, sent);
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    if (request.url === '/token') return send(response, 200, tokenFor(new URLSearchParams(text)));
    const { call, params, body } = readRequest(request, text);
    calls.push(call);
    const fault = await cloud.onArrival(call);
    if (fault?.kind === 'slow') await sleep(fault.ms);
    if (fault?.kind === 'drop') return void request.socket.destroy();
    let status = 200;
    let answer: object;
    try {
      if (fault?.kind === 'refuse') throw new ApiError(fault.status, fault.code, fault.message);
      authorize(request);
      answer = await perform(call, params, body);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      status = error.status;
      answer = errorDocument(error);
    }
    if (fault?.kind === 'lose') return void request.socket.destroy();
    send(response, status, answer, () => cloud.onAnswered(call));
  }

  function tokenFor(form: URLSearchParams): object {
    const [assertion = '', grant] = [form.get('assertion') ?? '', form.get('grant_type')];
    if (grant !== 'urn:ietf:params:oauth:grant-type:jwt-bearer' || !isSigned(assertion, cloud.serviceAccountKeys))
      return { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' };
    const token = `ya29.of-the-token-endpoint-${number()}`;
    tokens.add(token);
    return { access_token: token, expires_in: 3599, token_type: 'Bearer' };
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      failures.push(error);
      if (error instanceof SchemaViolation)
        return send(response, 400, errorDocument(new ApiError(400, 'invalid', error.message)));
      response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const listAlive = (): readonly Resource[] => [
    ...instances.map((one) => ({ kind: 'instance', id: one.name, state: one.status, alive: true, tags: one.labels })),
    ...disks.map((one) => ({
      kind: 'disk',
      id: one.name,
      state: one.attachedInstance ?? 'unused',
      alive: true,
      tags: one.labels,
    })),
    ...addresses.map((one) => ({
      kind: 'address',
      id: one.name,
      state: '',
      alive: true,
      tags: parseMarks(one.description),
    })),
    ...rules.map((one) => ({
      kind: 'firewall',
      id: one.name,
      state: '',
      alive: true,
      tags: parseMarks(one.description),
    })),
  ];

  const cloud: Gce = {
    url,
    env: {
      CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: `${url}${API_PATH}`,
      CLOUDSDK_AUTH_ACCESS_TOKEN: ACCESS_TOKEN,
      GOOGLE_CLOUD_PROJECT: PROJECT,
    },
    calls,
    instances,
    rules,
    isConnectionAllowed(address, port, instance) {
      const one = instances.find(({ name }) => name === instance);
      if (!one) throw new Error(`there is no instance ${instance}`);
      const known = [...googles, ...rules].filter(({ there }) => there);
      return isConnectionAllowed(known, { network: networkOf(one), tags: one.tags }, { address, port });
    },
    removeRule: (name) => rules.filter((rule) => rule.name === name).forEach((rule) => take(rules, rule)),
    addresses,
    serviceAccountKeys: new Map(),
    lateness,
    bootTime,
    supportsWait: true,
    isEmulator: false,
    quotas: {
      CPUS: { limit: 1000, usage: 4 },
      INSTANCES: { limit: 100, usage: 2 },
      IN_USE_ADDRESSES: { limit: 100, usage: 1 },
    },
    onArrival: () => undefined,
    onAnswered: () => {},
    onOperation: () => undefined,
    listAlive,
    addInstance({ name, zone, labels = {}, keys }) {
      const one = newInstance(name, zone, {
        machineType: 'e2-medium',
        labels,
        networkInterfaces: [{ accessConfigs: [{ type: 'ONE_TO_ONE_NAT' }] }],
        metadata: {
          items: [{ key: 'owner', value: 'else' }, ...(keys === undefined ? [] : [{ key: 'ssh-keys', value: keys }])],
        },
        tags: { items: ['theirs'] },
      });
      Object.assign(one, { status: 'RUNNING', there: true, address: '203.0.113.251' });
      instances.push(one);
      return one;
    },
    addRule(name) {
      const theirs = {
        description: 'of somebody else',
        allowed: [{ IPProtocol: 'icmp' }],
        sourceRanges: ['0.0.0.0/0'],
      };
      rules.push({ ...newRule({ name, ...theirs }), there: true });
    },
    addAddress(name, region, ip) {
      addresses.push({ name, place: region, made: Date.now(), ip, description: '', labels: {}, there: true });
    },
    addDisk(name, zone, labels) {
      disks.push({
        name,
        place: zone,
        made: Date.now(),
        type: 'pd-balanced',
        sizeGb: '20',
        labels,
        attachedInstance: undefined,
        autoDelete: false,
      });
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      while (works.size > 0) await Promise.all(works);
      for (const one of instances) await one.guest?.remove();
      if (failures.length > 0)
        throw new AggregateError(failures, `the double of Compute Engine failed: ${failures.map(String).join('; ')}`);
    },
  };
  return cloud;
}

/** Rules and addresses carry our marks in their description. */
function parseMarks(description: string): Labels {
  const [text] = /\{.*\}$/.exec(description) ?? [];
  return text === undefined ? {} : (JSON.parse(text) as Labels);
}

/** A JWT that one of these accounts has signed, and that still holds. */
function isSigned(token: string, accounts: ReadonlyMap<string, string>): boolean {
  const [head = '', claims = '', signature = ''] = token.split('.');
  if (signature === '') return false;
  const read = (part: string): Record<string, unknown> => {
    try {
      return JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, unknown>;
    } catch {
      // Anything may be sent as a token.
      return {};
    }
  };
  const key = accounts.get(String(read(claims).iss));
  if (key === undefined || Number(read(claims).exp) * 1000 < Date.now()) return false;
  return verify(
    'RSA-SHA256',
    Buffer.from(`${head}.${claims}`),
    createPublicKey(key),
    Buffer.from(signature, 'base64url'),
  );
}

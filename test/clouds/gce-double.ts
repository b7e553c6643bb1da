import { createPublicKey, verify } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { CloudCall, CloudOptions, Resource } from './cloud.ts';
import { ApiError, type CloudProtocol, startCloudServer } from './cloud-server.ts';
import {
  API_PATH,
  errorDocument,
  HOST_PROJECT,
  notFoundError,
  PROJECT,
  PROJECT_NUMBER,
  REGIONS,
  ZONES,
} from './compute-catalog.ts';
import { DEFAULT_RULES, isConnectionAllowed } from './compute-firewall.ts';
import { checkRequest } from './compute-schema.ts';
import { catalogMethods } from './gce-catalog-methods.ts';
import { firewallMethods, newRule } from './gce-firewalls.ts';
import { newInstance } from './gce-instance-lifecycle.ts';
import { instanceMethods, networkOf } from './gce-instances.ts';
import { operationMethods } from './gce-operations.ts';
import { storageMethods } from './gce-storage.ts';
import { removeFrom, type Gce, type GceWorld, type Labels, type Methods, type RequestParams } from './gce-world.ts';

export type { Gce, GceInstance, ComputeFirewallRule } from './gce-world.ts';

export const ACCESS_TOKEN = 'ya29.made-up-token-of-tests-that-must-never-be-seen-anywhere';

const methods: Methods = {
  ...catalogMethods,
  ...operationMethods,
  ...instanceMethods,
  ...storageMethods,
  ...firewallMethods,
};

/** Starts a double of the part of Compute Engine that Slipway uses, with hosts behind its instances. */
export async function startGce({ guests, lateness = 0, bootTime = 100 }: CloudOptions): Promise<Gce> {
  let lastNumber = 0;
  const state: Omit<GceWorld, 'cloud'> = {
    guests,
    instances: [],
    disks: [],
    addresses: [],
    rules: [],
    defaultRules: DEFAULT_RULES.map((rule) => ({
      ...rule,
      place: '',
      made: 0,
      description: 'A rule of the network that each project starts with',
      isReady: true,
    })),
    operations: [],
    requests: new Map(),
    tokens: new Set([ACCESS_TOKEN]),
    nextNumber: () => (lastNumber += 1),
  };
  const server = await startCloudServer({
    name: 'the double of Compute Engine',
    protocol: computeProtocol(() => world),
    lateness,
    bootTime,
    runningGuests: () => state.instances.map(({ guest }) => guest),
  });
  const cloud = Object.assign(
    server,
    settingsOf(server.url),
    functionsToAddResources(() => world),
    {
      instances: state.instances,
      rules: state.rules,
      addresses: state.addresses,
      isConnectionAllowed(address: string, port: number, instance: string): boolean {
        const one = state.instances.find(({ name }) => name === instance);
        if (!one) throw new Error(`there is no instance ${instance}`);
        const known = [...state.defaultRules, ...state.rules].filter(({ isReady }) => isReady);
        return isConnectionAllowed(known, { network: networkOf(one), tags: one.tags }, { address, port });
      },
      removeRule: (name: string) =>
        state.rules.filter((rule) => rule.name === name).forEach((rule) => removeFrom(state.rules, rule)),
      listAlive: () => listAlive(world),
    },
  );
  const world: GceWorld = { ...state, cloud };
  return cloud;
}

/** Returns the settings that a test may change. */
function settingsOf(
  url: string,
): Pick<Gce, 'env' | 'serviceAccountKeys' | 'supportsWait' | 'isEmulator' | 'quotas' | 'unreachable' | 'onOperation'> {
  return {
    env: {
      CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: `${url}${API_PATH}`,
      CLOUDSDK_AUTH_ACCESS_TOKEN: ACCESS_TOKEN,
      GOOGLE_CLOUD_PROJECT: PROJECT,
    },
    serviceAccountKeys: new Map(),
    supportsWait: true,
    isEmulator: false,
    quotas: {
      CPUS: { limit: 1000, usage: 4 },
      INSTANCES: { limit: 100, usage: 2 },
      IN_USE_ADDRESSES: { limit: 100, usage: 1 },
    },
    unreachable: [],
    onOperation: () => undefined,
  };
}

/** Returns functions that add resources of somebody else. */
function functionsToAddResources(
  world: () => GceWorld,
): Pick<Gce, 'addInstance' | 'addRule' | 'addAddress' | 'addDisk'> {
  return {
    addInstance({ name, zone, labels = {}, keys }) {
      const one = newInstance(world(), name, zone, {
        machineType: 'e2-medium',
        labels,
        networkInterfaces: [{ accessConfigs: [{ type: 'ONE_TO_ONE_NAT' }] }],
        metadata: {
          items: [{ key: 'owner', value: 'else' }, ...(keys === undefined ? [] : [{ key: 'ssh-keys', value: keys }])],
        },
        tags: { items: ['theirs'] },
      });
      Object.assign(one, { status: 'RUNNING', isReady: true, address: '203.0.113.251' });
      world().instances.push(one);
      return one;
    },
    addRule(name) {
      const otherRule = {
        description: 'of somebody else',
        allowed: [{ IPProtocol: 'icmp' }],
        sourceRanges: ['0.0.0.0/0'],
      };
      world().rules.push({ ...newRule(world(), { name, ...otherRule }), isReady: true });
    },
    addAddress(name, region, ip) {
      world().addresses.push({ name, place: region, made: Date.now(), ip, description: '', labels: {}, isReady: true });
    },
    addDisk(name, zone, labels) {
      world().disks.push({
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
  };
}

function computeProtocol(
  world: () => GceWorld,
): CloudProtocol<{ readonly params: RequestParams; readonly body: unknown }> {
  return {
    contentType: 'application/json; charset=UTF-8',
    parse(request, text) {
      const { method = '', url = '' } = request;
      const { pathname, searchParams } = new URL(url, 'http://compute');
      const body: unknown = text === '' ? undefined : JSON.parse(text);
      const { id, params } = checkRequest({ method, path: pathname, query: searchParams, body });
      return {
        operation: id,
        mutates: method !== 'GET' && !id.endsWith('Operations.wait'),
        params: { ...params, ...(body === undefined ? {} : { body }) },
        request: { params, body },
      };
    },
    async perform(call, { params, body }, headers) {
      authorize(world(), headers);
      return await performMethod(world(), call, params, body);
    },
    formatAnswer: (_call, result) => toJson(result),
    formatError: (error) => toJson(errorDocument(error)),
    answerOther: ({ url }, body) => (url === '/token' ? createToken(world(), new URLSearchParams(body)) : undefined),
  };
}

const toJson = (document: object): string => `${JSON.stringify(document, undefined, 2)}\n`;

function authorize({ tokens, cloud }: GceWorld, { authorization = '' }: IncomingMessage['headers']): void {
  const [, token = ''] = /^Bearer (\S+)$/.exec(authorization) ?? [];
  if (tokens.has(token) || isSigned(token, cloud.serviceAccountKeys)) return;
  throw new ApiError(
    401,
    'authError',
    'Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.',
  );
}

async function performMethod(world: GceWorld, call: CloudCall, params: RequestParams, body: unknown): Promise<object> {
  requireKnownPlace(params, call.operation);
  const method = methods[call.operation.replace('compute.', '')];
  if (!method) throw new ApiError(501, 'notImplemented', `${call.operation} is not part of this double`);
  return await method(world, params, body, call);
}

function requireKnownPlace({ project = '', zone, region }: RequestParams, operation: string): void {
  const isNetworking = /\.(networks|subnetworks|firewalls|globalOperations)\./.test(operation);
  const known =
    operation.startsWith('compute.images.') ||
    [PROJECT, PROJECT_NUMBER, ...(isNetworking ? [HOST_PROJECT] : [])].includes(project);
  if (!known) throw new ApiError(403, 'forbidden', `Required '${operation}' permission for 'projects/${project}'`);
  if (zone !== undefined && !ZONES.includes(zone)) throw notFoundError(`projects/${project}/zones/${zone}`);
  if (region !== undefined && !REGIONS.includes(region)) throw notFoundError(`projects/${project}/regions/${region}`);
}

/** Returns a token for a service account's signed assertion, or the error of a token endpoint. */
function createToken(
  { tokens, cloud, nextNumber }: GceWorld,
  form: URLSearchParams,
): { readonly status: number; readonly document: string } {
  const [assertion = '', grant] = [form.get('assertion') ?? '', form.get('grant_type')];
  if (grant !== 'urn:ietf:params:oauth:grant-type:jwt-bearer' || !isSigned(assertion, cloud.serviceAccountKeys)) {
    const words = grant === 'refresh_token' ? 'Token has been expired or revoked.' : 'Invalid JWT Signature.';
    return { status: 400, document: toJson({ error: 'invalid_grant', error_description: words }) };
  }
  const token = `ya29.of-the-token-endpoint-${nextNumber()}`;
  tokens.add(token);
  return { status: 200, document: toJson({ access_token: token, expires_in: 3599, token_type: 'Bearer' }) };
}

const listAlive = (world: GceWorld): readonly Resource[] => [
  ...world.instances.map((one) => ({
    kind: 'instance',
    id: one.name,
    state: one.status,
    alive: true,
    tags: one.labels,
  })),
  ...world.disks.map((one) => ({
    kind: 'disk',
    id: one.name,
    state: one.attachedInstance ?? 'unused',
    alive: true,
    tags: one.labels,
  })),
  ...world.addresses.map((one) => ({
    kind: 'address',
    id: one.name,
    state: '',
    alive: true,
    tags: parseDescription(one.description),
  })),
  ...world.rules.map((one) => ({
    kind: 'firewall',
    id: one.name,
    state: '',
    alive: true,
    tags: parseDescription(one.description),
  })),
];

/** Reads Slipway's tags from the description of a rule or address. */
function parseDescription(description: string): Labels {
  const [text] = /\{.*\}$/.exec(description) ?? [];
  return text === undefined ? {} : (JSON.parse(text) as Labels);
}

/** Returns whether a token is a JWT that one of these accounts has signed, and that has not expired. */
function isSigned(token: string, accounts: ReadonlyMap<string, string>): boolean {
  const [head = '', claims = '', signature = ''] = token.split('.');
  if (signature === '') return false;
  const read = (part: string): Record<string, unknown> => {
    try {
      return JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, unknown>;
    } catch {
      // A client may send anything as a token.
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

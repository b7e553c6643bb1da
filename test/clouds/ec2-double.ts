import type { IncomingMessage } from 'node:http';
import type { CloudOptions, Resource } from './cloud.ts';
import { ApiError, type CloudProtocol, startCloudServer } from './cloud-server.ts';
import { ACCESS_KEY, ACCOUNT, OTHER_ACCESS_KEY, PARAMETERS, REGIONS, SECRET_KEY } from './ec2-catalog.ts';
import { instanceOperations } from './ec2-instances.ts';
import { networkOperations } from './ec2-network.ts';
import { parseQueryForm, textOf, toXml, type QueryParams } from './ec2-query-protocol.ts';
import { resourceOperations } from './ec2-resources.ts';
import type { Ec2, Ec2Operations, Ec2World } from './ec2-world.ts';

export type { Ec2, Ec2Instance } from './ec2-world.ts';

const operations: Ec2Operations = { ...networkOperations, ...instanceOperations, ...resourceOperations };

/** Starts a double of the part of EC2 that Slipway uses, with hosts behind its instances. */
export async function startEc2({ guests, lateness = 0, bootTime = 100 }: CloudOptions): Promise<Ec2> {
  const state: Omit<Ec2World, 'cloud'> = {
    guests,
    instances: [],
    groups: [],
    volumes: [],
    nics: [],
    spots: [],
    keyPairs: new Set(['laptop']),
    signingKeys: [],
    tokens: new Map(),
  };
  const server = await startCloudServer({
    name: 'the double of EC2',
    protocol: ec2Protocol((params, operation, headers) => performOperation(world, operation, params, headers)),
    lateness,
    bootTime,
    runningGuests: () => state.instances.filter((one) => one.state !== 'terminated').map(({ guest }) => guest),
  });
  const { instances, groups, volumes, nics, signingKeys } = state;
  const cloud = Object.assign(server, {
    env: {
      AWS_ENDPOINT_URL_EC2: server.url,
      AWS_ACCESS_KEY_ID: ACCESS_KEY,
      AWS_SECRET_ACCESS_KEY: SECRET_KEY,
      AWS_REGION: REGIONS[0] ?? '',
      AWS_EC2_METADATA_DISABLED: 'true',
    },
    instances,
    groups,
    volumes,
    nics,
    signingKeys,
    otherEnv: { AWS_ACCESS_KEY_ID: OTHER_ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY },
    account: ACCOUNT,
    hasDefaultVpc: true,
    assignsPublicAddresses: true,
    privateSubnets: new Set<string>(),
    ipv6Subnets: new Set<string>(),
    fullSubnets: new Set<string>(),
    missingTypes: new Map<string, readonly string[]>(),
    launchFailure: undefined,
    forbiddenRegions: new Set<string>(),
    listAlive: () => listAlive(world),
  });
  const world: Ec2World = { ...state, cloud };
  return cloud;
}

type Perform = (params: QueryParams, operation: string, headers: IncomingMessage['headers']) => object;

function ec2Protocol(perform: Perform): CloudProtocol<QueryParams> {
  return {
    contentType: 'text/xml',
    parse(_request, body) {
      const { Action, Version: _, ...params } = parseQueryForm(new URLSearchParams(body));
      const operation = textOf(Action);
      return { operation, mutates: !operation.startsWith('Describe'), params, request: params };
    },
    perform: ({ operation }, params, headers) => perform(params, operation, headers),
    formatAnswer: ({ operation }, result) =>
      xmlDocument(
        `<${operation}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>${toXml(result)}</${operation}Response>`,
      ),
    formatError: ({ code, message }) =>
      xmlDocument(
        `<Response><Errors><Error>${toXml({ Code: code, Message: message })}</Error></Errors><RequestID>r</RequestID></Response>`,
      ),
  };
}

const xmlDocument = (content: string): string => `<?xml version="1.0" encoding="UTF-8"?>${content}`;

function performOperation(
  world: Ec2World,
  operation: string,
  params: QueryParams,
  headers: IncomingMessage['headers'],
): object {
  const region = authenticate(world, headers);
  const perform = operations[operation];
  if (!perform) throw new ApiError(400, 'InvalidAction', `The action ${operation} is not valid for this web service.`);
  const unknown = Object.keys(params).find((name) => !PARAMETERS[operation]?.includes(name));
  if (unknown !== undefined) throw new ApiError(400, 'UnknownParameter', `The parameter ${unknown} is not recognized`);
  return perform(world, params, region);
}

/** Returns the region in the signature; refuses unknown keys, and regions that the account may not use. */
function authenticate({ cloud, signingKeys }: Ec2World, { authorization = '' }: IncomingMessage['headers']): string {
  const [, key = '', region = ''] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/([^/]+)\/ec2\/aws4_request,/.exec(authorization) ?? [];
  signingKeys.push(key);
  if (key !== ACCESS_KEY && key !== OTHER_ACCESS_KEY)
    throw new ApiError(401, 'AuthFailure', 'AWS was not able to validate the provided access credentials');
  if (cloud.forbiddenRegions.has(region))
    throw new ApiError(403, 'UnauthorizedOperation', 'You are not authorized to perform this operation.');
  return region;
}

const listAlive = (world: Ec2World): readonly Resource[] => [
  ...world.instances
    .filter(({ state }) => state !== 'terminated')
    .map((one) => ({ kind: 'instance', id: one.id, state: one.state, alive: true, tags: one.tags })),
  ...world.volumes.map((one) => ({
    kind: 'disk',
    id: one.id,
    state: one.instance === undefined ? 'available' : 'in-use',
    alive: true,
    tags: one.tags,
  })),
  ...world.nics.map((one) => ({ kind: 'network interface', id: one.id, state: 'in-use', alive: true, tags: one.tags })),
  ...world.groups.map((one) => ({ kind: 'firewall', id: one.id, state: '', alive: true, tags: one.tags })),
  ...[...world.keyPairs]
    // Without the user's own key pair.
    .filter((name) => name !== 'laptop')
    .map((name) => ({ kind: 'key pair', id: name, state: '', alive: true, tags: {} })),
  ...world.spots
    .filter(({ state }) => state === 'open' || state === 'active')
    .map((one) => ({ kind: 'spot request', id: one.id, state: one.state, alive: true, tags: one.tags })),
];

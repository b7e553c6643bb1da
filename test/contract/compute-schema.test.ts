import { describe, expect, test } from 'vitest';
import {
  loadDiscoverySchema,
  loadProtoSchema,
  SchemaViolation,
  type ApiRequest,
  type ApiSchema,
} from '../clouds/compute-schema.ts';

const INSERT_PATH = '/compute/v1/projects/my-project-42/zones/us-central1-a/instances';
const body = {
  name: 'web-1',
  machineType: 'zones/us-central1-a/machineTypes/e2-medium',
  labels: { team: 'web' },
  disks: [{ boot: true, initializeParams: { diskSizeGb: '20' } }],
  scheduling: { provisioningModel: 'SPOT' },
};

function requestWith(more: Partial<Omit<ApiRequest, 'query'>> & { query?: string } = {}): ApiRequest {
  return { method: 'POST', path: INSERT_PATH, body, ...more, query: new URLSearchParams(more.query ?? '') };
}

/** Requests that the double refuses with either schema. */
const INVALID_REQUESTS: readonly (readonly [string, ApiRequest, string])[] = [
  ['an unknown path', requestWith({ path: `${INSERT_PATH}/x/y/z` }), 'path'],
  ['an unknown method', requestWith({ method: 'PATCH' }), 'path'],
  ['an unknown parameter', requestWith({ query: 'color=red' }), 'color'],
  ['a request ID that is not a UUID', requestWith({ query: 'requestId=1' }), 'requestId'],
  ['an unknown field', requestWith({ body: { ...body, color: 'red' } }), 'resource.color'],
  [
    'an unknown nested field',
    requestWith({ body: { ...body, disks: [{ initializeParams: { color: 'red' } }] } }),
    'resource.disks[0].initializeParams.color',
  ],
  ['a number instead of a string', requestWith({ body: { ...body, name: 5 } }), 'resource.name'],
  [
    'an int64 that is not a string',
    requestWith({ body: { ...body, disks: [{ initializeParams: { diskSizeGb: 20 } }] } }),
    'resource.disks[0].initializeParams.diskSizeGb',
  ],
  [
    'a string instead of a boolean',
    requestWith({ body: { ...body, disks: [{ boot: 'yes' }] } }),
    'resource.disks[0].boot',
  ],
  ['an object instead of a list', requestWith({ body: { ...body, disks: {} } }), 'resource.disks'],
  [
    'an unknown enum value',
    requestWith({ body: { ...body, scheduling: { provisioningModel: 'CHEAP' } } }),
    'resource.scheduling.provisioningModel',
  ],
  ['a missing body', requestWith({ body: undefined }), 'resource'],
  ['an unexpected body', requestWith({ method: 'GET', path: `${INSERT_PATH}/web-1` }), 'resource'],
];

describe.each([
  ['the client library contains', loadProtoSchema()] as const,
  ...[loadDiscoverySchema()].flatMap((schema) => (schema ? [['Google publishes', schema] as const] : [])),
])('the API schema that %s', (_, schema: ApiSchema) => {
  test('identifies an operation and its parameters by the path', () => {
    expect(schema.check(requestWith({ query: 'requestId=3f2504e0-4f89-41d3-9a0c-0305e82c3301' }))).toEqual({
      id: 'compute.instances.insert',
      params: {
        project: 'my-project-42',
        zone: 'us-central1-a',
        requestId: '3f2504e0-4f89-41d3-9a0c-0305e82c3301',
      },
    });
  });

  test.each(INVALID_REQUESTS)('refuses %s', (_what, request, field) => {
    expect(() => schema.check(request)).toThrow(SchemaViolation);
    expect(() => schema.check(request)).toThrow(`'${field}'`);
  });
});

// A shallow checkout may lack this schema.
const publishedSchema = loadDiscoverySchema();
if (publishedSchema) {
  test('the API schema that Google publishes checks the pattern of names', () => {
    expect(() => publishedSchema.check(requestWith({ body: { ...body, name: 'Web.1' } }))).toThrow("'resource.name'");
  });
}

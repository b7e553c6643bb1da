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

/** What the double refuses, whichever description of the API it goes by. */
const INVALID_REQUESTS: readonly (readonly [string, ApiRequest, string])[] = [
  ['a path that is none', requestWith({ path: `${INSERT_PATH}/x/y/z` }), 'path'],
  ['a method that is none', requestWith({ method: 'PATCH' }), 'path'],
  ['a parameter that is none', requestWith({ query: 'colour=red' }), 'colour'],
  ['an id of a request that is no UUID', requestWith({ query: 'requestId=1' }), 'requestId'],
  ['a field that is none', requestWith({ body: { ...body, colour: 'red' } }), 'resource.colour'],
  [
    'a field that is none, deep inside',
    requestWith({ body: { ...body, disks: [{ initializeParams: { colour: 'red' } }] } }),
    'resource.disks[0].initializeParams.colour',
  ],
  ['a number where there must be text', requestWith({ body: { ...body, name: 5 } }), 'resource.name'],
  [
    'an int64 that is no string',
    requestWith({ body: { ...body, disks: [{ initializeParams: { diskSizeGb: 20 } }] } }),
    'resource.disks[0].initializeParams.diskSizeGb',
  ],
  [
    'text where there must be a boolean',
    requestWith({ body: { ...body, disks: [{ boot: 'yes' }] } }),
    'resource.disks[0].boot',
  ],
  ['one thing where there must be a list', requestWith({ body: { ...body, disks: {} } }), 'resource.disks'],
  [
    'a word that is none of those',
    requestWith({ body: { ...body, scheduling: { provisioningModel: 'CHEAP' } } }),
    'resource.scheduling.provisioningModel',
  ],
  ['no body', requestWith({ body: undefined }), 'resource'],
  ['a body where there is none', requestWith({ method: 'GET', path: `${INSERT_PATH}/web-1` }), 'resource'],
];

describe.each([
  ['its client ships with', loadProtoSchema()] as const,
  ...[loadDiscoverySchema()].flatMap((schema) => (schema ? [['Google publishes', schema] as const] : [])),
])('the description of the API that %s', (_, schema: ApiSchema) => {
  test('knows a request by its path, and what is in it', () => {
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

// A clone that stands alone has it not.
const publishedSchema = loadDiscoverySchema();
if (publishedSchema) {
  test("only Google's own document knows how names are written", () => {
    expect(() => publishedSchema.check(requestWith({ body: { ...body, name: 'Web.1' } }))).toThrow("'resource.name'");
  });
}

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/**
 * The schema of the Compute Engine API, read from the description that its client ships with, and from Google's
 * discovery document if that is beside the repository. The double checks every request against both.
 */
export type ApiRequest = {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** The parsed body; undefined if there was none. */
  readonly body: unknown;
};

export type ApiCall = {
  /** `compute.instances.insert` */
  readonly id: string;
  /** Path and query. */
  readonly params: Readonly<Record<string, string>>;
};

/** A request that violates the schema; `field` names the invalid field. */
export class SchemaViolation extends Error {
  readonly field: string;
  constructor(field: string, message: string) {
    super(`Invalid value for field '${field}': ${message}`);
    this.field = field;
  }
}

export type ApiSchema = { readonly name: string; check(request: ApiRequest): ApiCall };

type ValueShape =
  | { readonly kind: 'text'; readonly pattern?: RegExp; readonly words?: readonly string[] }
  | { readonly kind: 'int64' | 'int32' | 'number' | 'boolean' | 'any' }
  | { readonly kind: 'list' | 'map'; readonly of: ValueShape }
  | { readonly kind: 'object'; readonly fields: () => FieldShapes };
type FieldShapes = Readonly<Record<string, { readonly shape: ValueShape; readonly required: boolean }>>;

type ApiMethod = {
  readonly id: string;
  readonly verb: string;
  readonly path: RegExp;
  readonly names: readonly string[];
  readonly pathParams: Readonly<Record<string, ValueShape>>;
  readonly query: FieldShapes;
  readonly body: ValueShape | undefined;
};

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function buildSchema(name: string, methods: readonly ApiMethod[], standardParameters: ReadonlySet<string>): ApiSchema {
  return {
    name,
    check({ method: verb, path, query, body }) {
      const method = methods.find((one) => one.verb === verb && one.path.test(path));
      if (!method) throw new SchemaViolation('path', `${verb} ${path} is not a method of the API`);
      const values = (method.path.exec(path) ?? []).slice(1).map(decodeURIComponent);
      const params: Record<string, string> = Object.fromEntries(method.names.map((key, at) => [key, values[at] ?? '']));
      for (const [key, value] of Object.entries(params))
        checkValue(value, method.pathParams[key] ?? { kind: 'any' }, key);
      for (const [key, value] of query) {
        if (standardParameters.has(key)) continue;
        const known = method.query[key];
        if (!known) throw new SchemaViolation(key, `${method.id} takes no such parameter`);
        checkValue(parseQueryValue(value, known.shape), known.shape, key);
        params[key] = value;
      }
      const missing = Object.keys(method.query).find((key) => method.query[key]?.required && !query.has(key));
      if (missing !== undefined) throw new SchemaViolation(missing, `${method.id} needs this parameter`);
      if (query.has('requestId') && !UUID.test(query.get('requestId') ?? ''))
        throw new SchemaViolation('requestId', 'not a UUID');
      if (method.body) checkValue(body, method.body, 'resource');
      else if (body !== undefined) throw new SchemaViolation('resource', `${method.id} takes no body`);
      return { id: method.id, params };
    },
  };
}

/** Converts a value of a query, where every value is text, to its type. */
function parseQueryValue(value: string, shape: ValueShape): unknown {
  if (shape.kind === 'boolean') return value === 'true' ? true : value === 'false' ? false : value;
  if (shape.kind === 'int32' || shape.kind === 'number') return value === '' ? value : Number(value);
  return value;
}

function checkValue(value: unknown, shape: ValueShape, at: string): void {
  const wrong = (wanted: string): never => {
    throw new SchemaViolation(at, `${JSON.stringify(value)} is not ${wanted}`);
  };
  switch (shape.kind) {
    case 'text':
      if (typeof value !== 'string') return wrong('a string');
      if (shape.words && !shape.words.includes(value)) wrong(`one of ${shape.words.join(', ')}`);
      if (shape.pattern && !shape.pattern.test(value)) wrong(`like ${String(shape.pattern)}`);
      return;
    case 'int64':
      return typeof value === 'string' && /^-?\d+$/.test(value)
        ? undefined
        : wrong('an int64, which travels as a string');
    case 'int32':
      return Number.isInteger(value) ? undefined : wrong('an integer');
    case 'number':
      return typeof value === 'number' && !Number.isNaN(value) ? undefined : wrong('a number');
    case 'boolean':
      return typeof value === 'boolean' ? undefined : wrong('a boolean');
    case 'list':
      if (!Array.isArray(value)) return wrong('a list');
      return value.forEach((item, index) => checkValue(item, shape.of, `${at}[${index}]`));
    case 'map':
      if (!isRecord(value)) return wrong('a map');
      return Object.entries(value).forEach(([key, item]) => checkValue(item, shape.of, `${at}.${key}`));
    case 'object':
      return isRecord(value) ? checkFields(value, shape.fields(), at) : wrong('an object');
    case 'any':
  }
}

function checkFields(value: Record<string, unknown>, fields: FieldShapes, at: string): void {
  for (const [key, item] of Object.entries(value)) {
    const known = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (!known) throw new SchemaViolation(`${at}.${key}`, 'there is no such field');
    checkValue(item, known.shape, `${at}.${key}`);
  }
  const missing = Object.keys(fields).find((key) => fields[key]?.required && value[key] === undefined);
  if (missing !== undefined) throw new SchemaViolation(`${at}.${missing}`, 'a value is needed');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Converts `projects/{project}/zones/{zone}` to a pattern and the names in it. */
function parsePathTemplate(template: string): Pick<ApiMethod, 'path' | 'names'> {
  const names = [...template.matchAll(/\{([^}]+)\}/g)].map(([, name = '']) => toCamelCase(name));
  const pattern = template.replaceAll(/\{[^}]+\}/g, '([^/]+)');
  return { path: new RegExp(`^/?${pattern.replace(/^\//, '')}$`), names };
}

const toCamelCase = (name: string): string => name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

// --- The protos of the npm package
// ------------------------------------------------------------------------------------------------

type ProtoField = {
  readonly type: string;
  readonly rule?: string;
  readonly keyType?: string;
  readonly options?: Readonly<Record<string, unknown>>;
};
type ProtoType = {
  readonly fields?: Readonly<Record<string, ProtoField>>;
  readonly nested?: Readonly<Record<string, { readonly values?: Readonly<Record<string, number>> }>>;
  readonly methods?: Readonly<
    Record<string, { readonly requestType: string; readonly options: Readonly<Record<string, string>> }>
  >;
};

const VERBS = ['get', 'post', 'put', 'patch', 'delete'];
const SCALARS: Readonly<Record<string, ValueShape>> = {
  string: { kind: 'text' },
  int64: { kind: 'int64' },
  uint64: { kind: 'int64' },
  int32: { kind: 'int32' },
  uint32: { kind: 'int32' },
  double: { kind: 'number' },
  float: { kind: 'number' },
  bool: { kind: 'boolean' },
};

let cachedProtoSchema: ApiSchema | undefined;

/** Returns the schema by the description that ships with the client itself. */
export function loadProtoSchema(): ApiSchema {
  return (cachedProtoSchema ??= readProtos());
}

function readProtos(): ApiSchema {
  const file = createRequire(import.meta.url).resolve('@google-cloud/compute/build/protos/protos.json');
  let at = JSON.parse(readFileSync(file, 'utf8')) as { nested: Record<string, never> };
  for (const step of ['google', 'cloud', 'compute', 'v1']) at = at.nested[step] ?? at;
  const types = at.nested as Readonly<Record<string, ProtoType>>;
  const methods = Object.entries(types).flatMap(([service, { methods: all = {} }]) =>
    Object.entries(all).map(([name, { requestType, options }]): ApiMethod => {
      const verb = VERBS.find((one) => `(google.api.http).${one}` in options) ?? '';
      const path = parsePathTemplate(options[`(google.api.http).${verb}`] ?? '');
      const resource = toCamelCase(options['(google.api.http).body'] ?? '');
      const { [resource]: body, ...rest } = protoFields(types, requestType);
      return {
        id: `compute.${lowerFirst(service)}.${lowerFirst(name)}`,
        verb: verb.toUpperCase(),
        ...path,
        pathParams: {},
        query: Object.fromEntries(Object.entries(rest).filter(([key]) => !path.names.includes(key))),
        body: body?.shape,
      };
    }),
  );
  return buildSchema('protos', methods, new Set(['$alt', 'alt', 'prettyPrint', 'key', 'quotaUser', 'fields']));
}

const lowerFirst = (word: string): string => word.slice(0, 1).toLowerCase() + word.slice(1);

function protoFields(types: Readonly<Record<string, ProtoType>>, name: string): FieldShapes {
  return Object.fromEntries(
    Object.entries(types[name]?.fields ?? {}).map(([key, field]) => [
      key,
      {
        shape: wrapRepeated(field, protoShape(types, types[name], key, field.type)),
        required: field.options?.['(google.api.field_behavior)'] === 'REQUIRED',
      },
    ]),
  );
}

function wrapRepeated({ rule, keyType }: ProtoField, of: ValueShape): ValueShape {
  if (keyType !== undefined) return { kind: 'map', of };
  return rule === 'repeated' ? { kind: 'list', of } : of;
}

function protoShape(
  types: Readonly<Record<string, ProtoType>>,
  owner: ProtoType | undefined,
  key: string,
  type: string,
): ValueShape {
  // The client declares an enum as a string, and its values beside the field.
  const words = owner?.nested?.[type]?.values ?? owner?.nested?.[key.slice(0, 1).toUpperCase() + key.slice(1)]?.values;
  if (words && (type === 'string' || owner?.nested?.[type]))
    return { kind: 'text', words: Object.keys(words).filter((word) => !word.startsWith('UNDEFINED_')) };
  const scalar = SCALARS[type];
  if (scalar) return scalar;
  return types[type]?.fields ? { kind: 'object', fields: () => protoFields(types, type) } : { kind: 'any' };
}

// --- Google's discovery document
// --------------------------------------------------------------------------------------------------

type JsonSchema = {
  readonly type?: string;
  readonly $ref?: string;
  readonly format?: string;
  readonly pattern?: string;
  readonly enum?: readonly string[];
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema;
  readonly annotations?: { readonly required?: readonly string[] };
};
type Parameter = JsonSchema & { readonly location: string; readonly required?: boolean };
type DiscoveryResource = {
  readonly methods?: Readonly<
    Record<
      string,
      {
        readonly id: string;
        readonly httpMethod: string;
        readonly path: string;
        readonly parameters?: Readonly<Record<string, Parameter>>;
        readonly request?: { readonly $ref: string };
      }
    >
  >;
  readonly resources?: Readonly<Record<string, DiscoveryResource>>;
};
type DiscoveryDocument = DiscoveryResource & {
  readonly servicePath: string;
  readonly schemas: Readonly<Record<string, JsonSchema>>;
  readonly parameters: Readonly<Record<string, Parameter>>;
};

const DISCOVERY_FILE = fileURLToPath(new URL('../../../shared/reference/compute-v1.json', import.meta.url));
let cachedDiscoverySchema: ApiSchema | undefined;

/** Returns the schema by Google's own document; undefined in a clone without it. */
export function loadDiscoverySchema(): ApiSchema | undefined {
  if (!existsSync(DISCOVERY_FILE)) return undefined;
  return (cachedDiscoverySchema ??= readDiscovery(
    JSON.parse(readFileSync(DISCOVERY_FILE, 'utf8')) as DiscoveryDocument,
  ));
}

function readDiscovery(document: DiscoveryDocument): ApiSchema {
  const methods = methodsIn(document).map(({ id, httpMethod, path, parameters = {}, request }): ApiMethod => {
    const parametersIn = (where: string): readonly [string, Parameter][] =>
      Object.entries(parameters).filter(([, { location }]) => location === where);
    return {
      id,
      verb: httpMethod,
      ...parsePathTemplate(`/${document.servicePath}${path}`),
      pathParams: Object.fromEntries(
        parametersIn('path').map(([key, one]) => [key, discoveryShape(document, one, id)]),
      ),
      query: Object.fromEntries(
        parametersIn('query').map(([key, one]) => [
          key,
          { shape: discoveryShape(document, one, id), required: one.required === true },
        ]),
      ),
      body: request && discoveryShape(document, request, id),
    };
  });
  return buildSchema('discovery document', methods, new Set([...Object.keys(document.parameters), '$alt']));
}

function methodsIn({
  methods = {},
  resources = {},
}: DiscoveryResource): readonly NonNullable<DiscoveryResource['methods']>[string][] {
  return [...Object.values(methods), ...Object.values(resources).flatMap(methodsIn)];
}

function discoveryShape(document: DiscoveryDocument, one: JsonSchema, id: string): ValueShape {
  if (one.$ref !== undefined) {
    const named = one.$ref;
    return { kind: 'object', fields: () => discoveryFields(document, document.schemas[named] ?? {}, id) };
  }
  if (one.items) return { kind: 'list', of: discoveryShape(document, withPattern(one.items, one), id) };
  if (one.additionalProperties) return { kind: 'map', of: discoveryShape(document, one.additionalProperties, id) };
  if (one.properties) return { kind: 'object', fields: () => discoveryFields(document, one, id) };
  if (one.type === 'boolean') return { kind: 'boolean' };
  if (one.type === 'integer') return { kind: 'int32' };
  if (one.type === 'number') return { kind: 'number' };
  if (one.type !== 'string') return { kind: 'any' };
  if (one.format === 'int64' || one.format === 'uint64') return { kind: 'int64' };
  return {
    kind: 'text',
    ...(one.pattern === undefined
      ? {}
      : { pattern: new RegExp(`^(?:${one.pattern.replace('[a-zA-Z0-9-_]', '[a-zA-Z0-9_-]')})$`) }),
    ...(one.enum ? { words: one.enum } : {}),
  };
}

/** Returns the items of a list with the list's pattern, which applies to each item. */
function withPattern(items: JsonSchema, { pattern }: JsonSchema): JsonSchema {
  return pattern === undefined ? items : { pattern, ...items };
}

function discoveryFields(document: DiscoveryDocument, { properties = {} }: JsonSchema, id: string): FieldShapes {
  return Object.fromEntries(
    Object.entries(properties).map(([key, one]) => [
      key,
      { shape: discoveryShape(document, one, id), required: one.annotations?.required?.includes(id) === true },
    ]),
  );
}

/** Checks a request against both schemas. */
export function checkRequest(request: ApiRequest): ApiCall {
  const call = loadProtoSchema().check(request);
  const second = loadDiscoverySchema()?.check(request);
  if (second && second.id !== call.id) throw new SchemaViolation('path', `${call.id} is ${second.id} to Google`);
  return call;
}

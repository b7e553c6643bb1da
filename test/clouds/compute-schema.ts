import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/**
 * What the Compute Engine API takes, read from the description that its client ships with, and from Google's discovery document where
 * that lies beside the repository. Every request to the double is held against both.
 */
export type ApiRequest = {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** The parsed body; undefined when there was none. */
  readonly body: unknown;
};

export type ApiCall = {
  /** `compute.instances.insert` */
  readonly id: string;
  /** Path and query. */
  readonly params: Readonly<Record<string, string>>;
};

/** A request that the API does not know like this; `field` names the culprit. */
export class Violation extends Error {
  readonly field: string;
  constructor(field: string, message: string) {
    super(`Invalid value for field '${field}': ${message}`);
    this.field = field;
  }
}

export type Schema = { readonly name: string; check(request: ApiRequest): ApiCall };

type Shape =
  | { readonly kind: 'text'; readonly pattern?: RegExp; readonly words?: readonly string[] }
  | { readonly kind: 'int64' | 'int32' | 'number' | 'boolean' | 'any' }
  | { readonly kind: 'list' | 'map'; readonly of: Shape }
  | { readonly kind: 'object'; readonly fields: () => Fields };
type Fields = Readonly<Record<string, { readonly shape: Shape; readonly required: boolean }>>;

type Method = {
  readonly id: string;
  readonly verb: string;
  readonly path: RegExp;
  readonly names: readonly string[];
  readonly inPath: Readonly<Record<string, Shape>>;
  readonly query: Fields;
  readonly body: Shape | undefined;
};

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function schemaOf(name: string, methods: readonly Method[], ways: ReadonlySet<string>): Schema {
  return {
    name,
    check({ method: verb, path, query, body }) {
      const method = methods.find((one) => one.verb === verb && one.path.test(path));
      if (!method) throw new Violation('path', `${verb} ${path} is no method of the API`);
      const values = (method.path.exec(path) ?? []).slice(1).map(decodeURIComponent);
      const params: Record<string, string> = Object.fromEntries(method.names.map((key, at) => [key, values[at] ?? '']));
      for (const [key, value] of Object.entries(params)) look(value, method.inPath[key] ?? { kind: 'any' }, key);
      for (const [key, value] of query) {
        if (ways.has(key)) continue;
        const known = method.query[key];
        if (!known) throw new Violation(key, `${method.id} takes no such parameter`);
        look(plainly(value, known.shape), known.shape, key);
        params[key] = value;
      }
      const missing = Object.keys(method.query).find((key) => method.query[key]?.required && !query.has(key));
      if (missing !== undefined) throw new Violation(missing, `${method.id} needs this parameter`);
      if (query.has('requestId') && !UUID.test(query.get('requestId') ?? ''))
        throw new Violation('requestId', 'no UUID');
      if (method.body) look(body, method.body, 'resource');
      else if (body !== undefined) throw new Violation('resource', `${method.id} takes no body`);
      return { id: method.id, params };
    },
  };
}

/** In a query all is text. */
function plainly(value: string, shape: Shape): unknown {
  if (shape.kind === 'boolean') return value === 'true' ? true : value === 'false' ? false : value;
  if (shape.kind === 'int32' || shape.kind === 'number') return value === '' ? value : Number(value);
  return value;
}

function look(value: unknown, shape: Shape, at: string): void {
  const wrong = (wanted: string): never => {
    throw new Violation(at, `${JSON.stringify(value)} is not ${wanted}`);
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
      return value.forEach((item, index) => look(item, shape.of, `${at}[${index}]`));
    case 'map':
      if (!isRecord(value)) return wrong('a map');
      return Object.entries(value).forEach(([key, item]) => look(item, shape.of, `${at}.${key}`));
    case 'object':
      return isRecord(value) ? lookInside(value, shape.fields(), at) : wrong('an object');
    case 'any':
  }
}

function lookInside(value: Record<string, unknown>, fields: Fields, at: string): void {
  for (const [key, item] of Object.entries(value)) {
    const known = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (!known) throw new Violation(`${at}.${key}`, 'there is no such field');
    look(item, known.shape, `${at}.${key}`);
  }
  const missing = Object.keys(fields).find((key) => fields[key]?.required && value[key] === undefined);
  if (missing !== undefined) throw new Violation(`${at}.${missing}`, 'a value is needed');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `projects/{project}/zones/{zone}` as a pattern, and the names in it. */
function pathOf(template: string): Pick<Method, 'path' | 'names'> {
  const names = [...template.matchAll(/\{([^}]+)\}/g)].map(([, name = '']) => camel(name));
  const pattern = template.replaceAll(/\{[^}]+\}/g, '([^/]+)');
  return { path: new RegExp(`^/?${pattern.replace(/^\//, '')}$`), names };
}

const camel = (name: string): string => name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

// --- The protos of the npm package ------------------------------------------------------------------------------------------------

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
const SCALARS: Readonly<Record<string, Shape>> = {
  string: { kind: 'text' },
  int64: { kind: 'int64' },
  uint64: { kind: 'int64' },
  int32: { kind: 'int32' },
  uint32: { kind: 'int32' },
  double: { kind: 'number' },
  float: { kind: 'number' },
  bool: { kind: 'boolean' },
};

let protos: Schema | undefined;

/** By the description that ships with the client itself. */
export function protoSchema(): Schema {
  return (protos ??= readProtos());
}

function readProtos(): Schema {
  const file = createRequire(import.meta.url).resolve('@google-cloud/compute/build/protos/protos.json');
  let at = JSON.parse(readFileSync(file, 'utf8')) as { nested: Record<string, never> };
  for (const step of ['google', 'cloud', 'compute', 'v1']) at = at.nested[step] ?? at;
  const types = at.nested as Readonly<Record<string, ProtoType>>;
  const methods = Object.entries(types).flatMap(([service, { methods: all = {} }]) =>
    Object.entries(all).map(([name, { requestType, options }]): Method => {
      const verb = VERBS.find((one) => `(google.api.http).${one}` in options) ?? '';
      const path = pathOf(options[`(google.api.http).${verb}`] ?? '');
      const resource = camel(options['(google.api.http).body'] ?? '');
      const { [resource]: body, ...rest } = protoFields(types, requestType);
      return {
        id: `compute.${lowerFirst(service)}.${lowerFirst(name)}`,
        verb: verb.toUpperCase(),
        ...path,
        inPath: {},
        query: Object.fromEntries(Object.entries(rest).filter(([key]) => !path.names.includes(key))),
        body: body?.shape,
      };
    }),
  );
  return schemaOf('protos', methods, new Set(['$alt', 'alt', 'prettyPrint', 'key', 'quotaUser', 'fields']));
}

const lowerFirst = (word: string): string => word.slice(0, 1).toLowerCase() + word.slice(1);

function protoFields(types: Readonly<Record<string, ProtoType>>, name: string): Fields {
  return Object.fromEntries(
    Object.entries(types[name]?.fields ?? {}).map(([key, field]) => [
      key,
      {
        shape: repeated(field, protoShape(types, types[name], key, field.type)),
        required: field.options?.['(google.api.field_behavior)'] === 'REQUIRED',
      },
    ]),
  );
}

function repeated({ rule, keyType }: ProtoField, of: Shape): Shape {
  if (keyType !== undefined) return { kind: 'map', of };
  return rule === 'repeated' ? { kind: 'list', of } : of;
}

function protoShape(
  types: Readonly<Record<string, ProtoType>>,
  owner: ProtoType | undefined,
  key: string,
  type: string,
): Shape {
  // Fields that take words are strings to the client, and their words lie beside them.
  const words = owner?.nested?.[type]?.values ?? owner?.nested?.[key.slice(0, 1).toUpperCase() + key.slice(1)]?.values;
  if (words && (type === 'string' || owner?.nested?.[type]))
    return { kind: 'text', words: Object.keys(words).filter((word) => !word.startsWith('UNDEFINED_')) };
  const scalar = SCALARS[type];
  if (scalar) return scalar;
  return types[type]?.fields ? { kind: 'object', fields: () => protoFields(types, type) } : { kind: 'any' };
}

// --- Google's discovery document --------------------------------------------------------------------------------------------------

type Described = {
  readonly type?: string;
  readonly $ref?: string;
  readonly format?: string;
  readonly pattern?: string;
  readonly enum?: readonly string[];
  readonly items?: Described;
  readonly properties?: Readonly<Record<string, Described>>;
  readonly additionalProperties?: Described;
  readonly annotations?: { readonly required?: readonly string[] };
};
type Parameter = Described & { readonly location: string; readonly required?: boolean };
type Room = {
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
  readonly resources?: Readonly<Record<string, Room>>;
};
type Discovery = Room & {
  readonly servicePath: string;
  readonly schemas: Readonly<Record<string, Described>>;
  readonly parameters: Readonly<Record<string, Parameter>>;
};

const DISCOVERY = fileURLToPath(new URL('../../../shared/reference/compute-v1.json', import.meta.url));
let discovery: Schema | undefined;

/** By Google's own document; undefined in a clone that stands alone. */
export function discoverySchema(): Schema | undefined {
  if (!existsSync(DISCOVERY)) return undefined;
  return (discovery ??= readDiscovery(JSON.parse(readFileSync(DISCOVERY, 'utf8')) as Discovery));
}

function readDiscovery(document: Discovery): Schema {
  const methods = methodsIn(document).map(({ id, httpMethod, path, parameters = {}, request }): Method => {
    const placed = (where: string): readonly [string, Parameter][] =>
      Object.entries(parameters).filter(([, { location }]) => location === where);
    return {
      id,
      verb: httpMethod,
      ...pathOf(`/${document.servicePath}${path}`),
      inPath: Object.fromEntries(placed('path').map(([key, one]) => [key, shapeOf(document, one, id)])),
      query: Object.fromEntries(
        placed('query').map(([key, one]) => [
          key,
          { shape: shapeOf(document, one, id), required: one.required === true },
        ]),
      ),
      body: request && shapeOf(document, request, id),
    };
  });
  return schemaOf('discovery document', methods, new Set([...Object.keys(document.parameters), '$alt']));
}

function methodsIn({ methods = {}, resources = {} }: Room): readonly NonNullable<Room['methods']>[string][] {
  return [...Object.values(methods), ...Object.values(resources).flatMap(methodsIn)];
}

function shapeOf(document: Discovery, one: Described, id: string): Shape {
  if (one.$ref !== undefined) {
    const named = one.$ref;
    return { kind: 'object', fields: () => describedFields(document, document.schemas[named] ?? {}, id) };
  }
  if (one.items) return { kind: 'list', of: shapeOf(document, withPattern(one.items, one), id) };
  if (one.additionalProperties) return { kind: 'map', of: shapeOf(document, one.additionalProperties, id) };
  if (one.properties) return { kind: 'object', fields: () => describedFields(document, one, id) };
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

/** The pattern of a list is that of its items. */
function withPattern(items: Described, { pattern }: Described): Described {
  return pattern === undefined ? items : { pattern, ...items };
}

function describedFields(document: Discovery, { properties = {} }: Described, id: string): Fields {
  return Object.fromEntries(
    Object.entries(properties).map(([key, one]) => [
      key,
      { shape: shapeOf(document, one, id), required: one.annotations?.required?.includes(id) === true },
    ]),
  );
}

/** Held against all that is known of the API. */
export function checkRequest(request: ApiRequest): ApiCall {
  const call = protoSchema().check(request);
  const second = discoverySchema()?.check(request);
  if (second && second.id !== call.id) throw new Violation('path', `${call.id} is ${second.id} to Google`);
  return call;
}

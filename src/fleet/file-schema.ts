import { z } from 'zod';
import type { DriverManifest } from '../drivers/contract.ts';
import { drivers } from '../drivers/registry.ts';
import { describeOptions } from '../machine/options.ts';
import { defaultProfiles, profiles } from '../profiles/registry.ts';
import { engineOptions, lifetimeOptions, sharingOptions } from '../machine/spec.ts';

/** A larger count is taken for a mistake. */
export const MAX_COUNT = 1000;

const schemaIds = z.registry<{ readonly id: string }>();

/** Names a part of the JSON Schema, so that each driver's options are written once and referenced elsewhere. */
function namedSchema<S extends z.ZodType>(id: string, schema: S): S {
  schemaIds.add(schema, { id });
  return schema;
}

/** The schema of machines.yaml, derived from the option declarations of drivers, engine and lifetime. */
export type FleetFileSchema = {
  readonly file: z.ZodType;
  /** Variables of the secret options, by `section.option`: for the message when a file contains one. */
  readonly secrets: ReadonlyMap<string, string | undefined>;
};

export function fleetFileSchema(): FleetFileSchema {
  const settings = settingsShape();
  const names = z.union([z.string().min(1), z.array(z.string().min(1))]);
  const files = names.meta({
    description: 'Another file, or a list of files, that this file extends; relative to this file',
  });
  const base = names.meta({ description: 'A template, or a list of templates; later templates override earlier ones' });
  const template = z.strictObject({ ...settings, extends: base.optional() });
  const count = z.int().min(0).max(MAX_COUNT).meta({ description: 'Number of machines: web-1, web-2, …' });
  const machine = z.strictObject({ ...settings, extends: base.optional(), count: count.optional() });
  const name = z.string().min(1).max(200).meta({
    description: "Name by which --prune knows this file's machines; default: the file's path",
  });
  return {
    secrets: secretOptions(),
    file: z.strictObject({
      name: name.optional(),
      extends: files.optional(),
      defaults: emptyableSchema(
        namedSchema('defaults', z.strictObject(settings)),
        'Settings for every machine that does not set them',
      ),
      templates: emptyableSchema(
        z.record(z.string(), emptyableSchema(namedSchema('template', template), 'A template')),
        'Templates by name',
      ),
      machines: emptyableSchema(
        z.record(z.string(), emptyableSchema(namedSchema('machine', machine), 'A machine')),
        'Machines by name',
      ),
    }),
  };
}

/** Returns the settings that machines, templates and defaults share. */
function settingsShape(): Record<string, z.ZodType> {
  const profileNames = profiles.map(({ name }) => name) as [string, ...string[]];
  const all = drivers.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  const driverNames = all.flatMap(({ name, aliases = [] }) => [name, ...aliases]) as [string, ...string[]];
  const { ttl, idleStop } = lifetimeOptions.shape;
  const { link, publishOn } = sharingOptions.shape;
  const engine = sectionSchema('engine', engineOptions);
  return {
    driver: z
      .enum(driverNames)
      .optional()
      .meta({ description: 'Driver; default: the driver whose section the machine has' }),
    ...Object.fromEntries(all.flatMap(driverSections)),
    engine: emptyableSchema(engine, 'Options of the engine'),
    profiles: z
      .array(z.enum(profileNames))
      .optional()
      .meta({ description: `Client profiles to write; default: ${defaultProfiles.join(', ')}` }),
    ttl: ttl.optional(),
    idleStop: idleStop.optional(),
    link: link.optional(),
    publishOn: publishOn.optional(),
  };
}

function driverSections({
  name,
  aliases = [],
  options,
  summary,
}: DriverManifest): readonly (readonly [string, z.ZodType])[] {
  const schema = sectionSchema(name, options);
  return [name, ...aliases].map((section) => [
    section,
    emptyableSchema(schema, `Options of the driver ${name}: ${summary}`),
  ]);
}

/** Makes every option optional: defaults and required options apply to the merged settings, not to one section. */
function sectionSchema(id: string, { shape }: z.ZodObject): z.ZodType {
  const fields = Object.entries(shape as Record<string, z.ZodType>).filter(([, field]) => !isSecret(field));
  return namedSchema(id, z.strictObject(Object.fromEntries(fields.map(([key, field]) => [key, field.optional()]))));
}

/** Accepts `dev:` without a value as an empty map. */
function emptyableSchema(schema: z.ZodType, description: string): z.ZodType {
  return schema.nullable().optional().meta({ description });
}

/** Returns the keys that the map at this path can have, for suggestions when one is misspelled. */
export function keysAt(path: readonly PropertyKey[]): readonly string[] {
  const [top] = path;
  if (top === undefined) return ['machines', 'defaults', 'templates', 'extends', 'name'];
  if (path.length > (top === 'defaults' ? 1 : 2)) return sectionKeys(String(path.at(-1)));
  const more = { machines: ['extends', 'count'], templates: ['extends'] }[String(top)] ?? [];
  return [...Object.keys(settingsShape()), ...more];
}

function sectionKeys(section: string): readonly string[] {
  if (section === 'engine') return Object.keys(engineOptions.shape);
  const driver = drivers.find(({ name, aliases = [] }) => name === section || aliases.includes(section));
  return Object.keys(driver?.options.shape ?? {});
}

function isSecret(field: z.ZodType): boolean {
  return z.globalRegistry.get(field)?.secret === true;
}

/** Returns secret options and credentials, which belong in the environment, with their variables. */
function secretOptions(): ReadonlyMap<string, string | undefined> {
  const found = new Map<string, string | undefined>();
  for (const { name, aliases = [], options, account } of drivers) {
    const secret = describeOptions(options, name).filter((option) => option.secret);
    for (const { key, env } of [...secret, ...(account?.credentials ? describeOptions(account.credentials, name) : [])])
      for (const section of [name, ...aliases]) found.set(`${section}.${key}`, env);
  }
  return found;
}

/** Returns machines.schema.json, from which editors complete and check. */
export function fleetJsonSchema(): object {
  const metadataOf = (schema: z.ZodType): object => ({ ...z.globalRegistry.get(schema), ...schemaIds.get(schema) });
  const generated = z.toJSONSchema(fleetFileSchema().file, {
    target: 'draft-7',
    io: 'input',
    metadata: { get: metadataOf, has: () => true } as unknown as typeof z.globalRegistry,
    override: ({ jsonSchema: json }) => {
      // These are for flags and questions; editors warn about keywords that they do not know.
      for (const word of ['ask', 'env', 'also', 'flag', 'short', 'value', 'example', 'secret', 'id']) delete json[word];
      if (json.type === 'integer' && json.maximum === Number.MAX_SAFE_INTEGER) delete json.maximum;
      if (json.type === 'integer' && json.minimum === Number.MIN_SAFE_INTEGER) delete json.minimum;
    },
  });
  const { $schema, ...rest } = generated;
  return { $schema, title: 'Slipway machines (machines.yaml)', ...rest };
}

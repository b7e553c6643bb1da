/** Typed access to parsed JSON, in which any member may be missing or of the wrong type. */
export type ConfigJsonFields = Readonly<Record<string, unknown>>;

export function isFields(value: unknown): value is ConfigJsonFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Returns the value if it is a JSON object, else an empty object. */
export function fieldsOrEmpty(value: unknown): ConfigJsonFields {
  return isFields(value) ? value : {};
}

export function withoutUndefined<T extends ConfigJsonFields>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

/** Returns undefined for an empty string, which Docker Machine writes for a text that is not set. */
export function nonEmptyString(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function numberOrUndefined(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

/** Returns undefined for 0, which Docker Machine writes for a number that is not set. */
export function positiveNumber(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}

export function validPort(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536 ? value : undefined;
}

export function stringList(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

/** Returns the members of `values` that `known` lacks: members that Slipway does not know are kept in the file. */
export function unknownFields(values: ConfigJsonFields, known: ConfigJsonFields): ConfigJsonFields {
  return Object.fromEntries(Object.entries(values).filter(([key]) => !(key in known)));
}

import { isDeepStrictEqual } from 'node:util';
import { parse, printParseErrorCode, type ParseError } from 'jsonc-parser';
import { SlipwayError } from '../errors.ts';
import type { EngineSpec } from '../machine/model.ts';

export type DaemonSettings = Readonly<Record<string, unknown>>;

/**
 * What Slipway put into a daemon.json, and what it replaced there: enough to change the settings later, and to undo
 * them all.
 */
export type DaemonJsonOwnership = {
  readonly settings: DaemonSettings;
  /** Values of the user's that Slipway's stand in for. */
  readonly replaced: DaemonSettings;
  /** Slipway created daemon.json: it did not exist before. */
  readonly made: boolean;
};

export const DAEMON_JSON = '/etc/docker/daemon.json';

export const TLS_FILES = {
  ca: '/etc/docker/slipway/ca.pem',
  cert: '/etc/docker/slipway/server-cert.pem',
  key: '/etc/docker/slipway/server-key.pem',
} as const;

/**
 * Returns all settings of an engine: those for its sockets and TLS, and those that the user chose. `sockets` are on the
 * command line of the engine's service.
 */
export function daemonSettingsFor(
  engineSettings: DaemonSettings,
  port: number,
  address: string,
  sockets: readonly string[],
): DaemonSettings {
  const anywhere = address.includes(':') ? '[::]' : '0.0.0.0';
  return {
    hosts: [...sockets.filter((socket) => !socket.endsWith(`:${port}`)), `tcp://${anywhere}:${port}`],
    tls: true,
    tlsverify: true,
    tlscacert: TLS_FILES.ca,
    tlscert: TLS_FILES.cert,
    tlskey: TLS_FILES.key,
    ...engineSettings,
  };
}

/**
 * Returns the settings that the user chose, without those for the engine's sockets and TLS, which are Slipway's own.
 * Throws `USAGE` for options that daemon.json can't hold. Called once in a run: `validateSpec` passes the settings on.
 */
export function engineSettingsOf(engine: EngineSpec): DaemonSettings {
  const lists = {
    label: engine.label,
    'registry-mirror': engine.registryMirror,
    'insecure-registry': engine.insecureRegistry,
  };
  const settings: Record<string, unknown> =
    engine.storageDriver === undefined ? {} : { 'storage-driver': engine.storageDriver };
  const flags = [
    ...engine.opt.map(parseOption),
    ...Object.entries(lists).flatMap(([name, values]) => values.map((value): [string, string] => [name, value])),
  ];
  for (const [name, value] of flags) addSetting(settings, name, value);
  requireUniqueKeys('engine-label', (settings.labels as readonly string[] | undefined) ?? []);
  requireUniqueKeys('engine-env', engine.env);
  return settings;
}

/** Returns the settings that flags of dockerd stand for: `label=a=b`, `debug`. */
export function daemonSettingsFromFlags(flags: readonly string[]): DaemonSettings {
  const settings: Record<string, unknown> = {};
  for (const [name, value] of flags.map(parseOption)) addSetting(settings, name, value);
  return settings;
}

/**
 * Merges settings of the user's from two places. dockerd accepts no setting twice, so lists and maps are joined, and
 * elsewhere `first` wins.
 */
export function mergeForeignSettings(first: DaemonSettings, second: DaemonSettings): DaemonSettings {
  const all: Record<string, unknown> = { ...first };
  for (const [key, value] of Object.entries(second)) {
    const present = all[key];
    if (Array.isArray(present) && Array.isArray(value))
      all[key] = [...present, ...value.filter((item) => !hasItem(present, item))];
    else if (isMap(present) && isMap(value)) all[key] = { ...value, ...present };
    else if (present === undefined) all[key] = value;
  }
  return all;
}

/** dockerd would refuse a second label of one name, and of two variables it is unknown which one applies. */
function requireUniqueKeys(flag: string, pairs: readonly string[]): void {
  const names = pairs.map(nameOf);
  const duplicate = names.find((name, index) => names.indexOf(name) !== index);
  if (duplicate === undefined) return;
  throw new SlipwayError('USAGE', `--${flag} ${duplicate} is specified twice`, {
    hint: `Specify one value for ${duplicate}`,
  });
}

/** dockerd's flags that can be repeated, and the keys of their values in daemon.json. */
const LIST_KEYS: Readonly<Record<string, string>> = {
  'authorization-plugin': 'authorization-plugins',
  dns: 'dns',
  'dns-opt': 'dns-opts',
  'dns-search': 'dns-search',
  'exec-opt': 'exec-opts',
  'insecure-registry': 'insecure-registries',
  label: 'labels',
  'node-generic-resource': 'node-generic-resources',
  'registry-mirror': 'registry-mirrors',
  'storage-opt': 'storage-opts',
  'cdi-spec-dir': 'cdi-spec-dirs',
};
const MAP_KEYS: Readonly<Record<string, string>> = { 'log-opt': 'log-opts' };
const NUMBER_FLAGS = new Set([
  'max-concurrent-downloads',
  'max-concurrent-uploads',
  'max-download-attempts',
  'mtu',
  'network-control-plane-mtu',
  'network-diagnostic-port',
  'shutdown-timeout',
]);
/** Flags that Slipway itself sets, or that have no place in daemon.json. */
const RESERVED_FLAGS = new Set([
  'H',
  'host',
  'hosts',
  'tls',
  'tlsverify',
  'tlscacert',
  'tlscert',
  'tlskey',
  'config-file',
]);

function parseOption(text: string): [string, string] {
  const bare = text.replace(/^--?/, '');
  const equals = bare.indexOf('=');
  const name = equals < 0 ? bare : bare.slice(0, equals);
  if (RESERVED_FLAGS.has(name)) {
    throw new SlipwayError('USAGE', `--engine-opt ${name} is reserved: Slipway sets it`, {
      hint: 'The engine listens on its Unix socket and, with TLS, on --engine-port. To add names to its certificate: --tls-san',
    });
  }
  return [name, equals < 0 ? 'true' : bare.slice(equals + 1)];
}

function addSetting(settings: Record<string, unknown>, name: string, value: string): void {
  const list = LIST_KEYS[name];
  const map = MAP_KEYS[name];
  if (list !== undefined) {
    const values = (settings[list] as readonly string[] | undefined) ?? [];
    settings[list] = values.includes(value) ? values : [...values, value];
  } else if (map !== undefined) {
    const equals = value.indexOf('=');
    const [key, item] = equals < 0 ? [value, ''] : [value.slice(0, equals), value.slice(equals + 1)];
    settings[map] = { ...(settings[map] as DaemonSettings | undefined), [key]: item };
  } else {
    settings[name] = parseValue(name, value);
  }
}

function parseValue(name: string, value: string): unknown {
  if (value === 'true' || value === 'false') return value === 'true';
  if (NUMBER_FLAGS.has(name) && /^-?\d+$/.test(value)) return Number(value);
  // Flags whose daemon.json form is a structure: default-ulimits, default-address-pools, features, runtimes.
  if (/^[[{]/.test(value)) {
    try {
      return JSON.parse(value) as unknown;
    } catch (error) {
      throw new SlipwayError('USAGE', `--engine-opt ${name}: the value begins like JSON but is invalid JSON`, {
        hint: 'Write structures as in daemon.json: --engine-opt \'default-ulimits={"nofile":{"Name":"nofile","Soft":1024,"Hard":2048}}\'',
        cause: error,
      });
    }
  }
  return value;
}

/** Parses the text of a daemon.json. A broken one is an error with line and column, and stays unchanged on the host. */
export function parseDaemonJson(text: string | undefined, where: string): DaemonSettings {
  if (text === undefined || text.trim() === '') return {};
  const errors: ParseError[] = [];
  // Not the parser's tree: its values have no prototype, so none of them would equal a value of Slipway's.
  const value: unknown = parse(text, errors, { disallowComments: true, allowTrailingComma: false });
  const first = errors[0];
  if (first || !isMap(value)) {
    const before = text.slice(0, first?.offset ?? 0).split('\n');
    const what = first ? splitCamelCase(printParseErrorCode(first.error)) : 'it is not an object';
    throw new SlipwayError(
      'DAEMON_JSON',
      `/etc/docker/daemon.json on ${where} is broken at line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${what}`,
      {
        hint: 'Fix it on the host, then run the same command again. Slipway did not change it',
      },
    );
  }
  return value;
}

/** `CommaExpected` -> `comma expected`. */
function splitCamelCase(code: string): string {
  return code.replaceAll(/(?!^)[A-Z]/g, (letter) => ` ${letter}`).toLowerCase();
}

/**
 * Returns the wanted daemon.json: settings of the user's stay, settings of Slipway's that are no longer wanted go, and
 * lists and maps are shared item by item.
 */
export function mergeSettings(
  present: DaemonSettings,
  before: DaemonJsonOwnership | undefined,
  wanted: DaemonSettings,
): { readonly merged: DaemonSettings; readonly ownership: DaemonJsonOwnership } {
  const foreign = withoutOwnSettings(present, before);
  const merged: Record<string, unknown> = { ...foreign };
  const settings: Record<string, unknown> = {};
  const replaced: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(wanted)) {
    const foreignValue = foreign[key];
    if (Array.isArray(value) && Array.isArray(foreignValue)) {
      const kept = foreignValue.filter((item) => !isConflicting(key, item, value));
      const added = value.filter((item) => !hasItem(kept, item));
      merged[key] = [...kept, ...added];
      settings[key] = added;
      if (kept.length < foreignValue.length) replaced[key] = foreignValue.filter((item) => !hasItem(kept, item));
    } else if (isMap(value) && isMap(foreignValue)) {
      merged[key] = { ...foreignValue, ...value };
      settings[key] = value;
      const hidden = Object.entries(foreignValue).filter(([name]) => name in value);
      if (hidden.length > 0) replaced[key] = Object.fromEntries(hidden);
    } else if (!isDeepStrictEqual(foreignValue, value)) {
      merged[key] = value;
      settings[key] = value;
      if (foreignValue !== undefined) replaced[key] = foreignValue;
    }
  }
  const made = before?.made ?? Object.keys(present).length === 0;
  return { merged: sortKeysLike(present, merged), ownership: { settings, replaced, made } };
}

/** Returns daemon.json without Slipway's settings: what `--deprovision` restores, and what a merge starts from. */
export function withoutOwnSettings(present: DaemonSettings, before: DaemonJsonOwnership | undefined): DaemonSettings {
  if (!before) return present;
  const remaining: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(present)) {
    const own = before.settings[key];
    const original = before.replaced[key];
    if (own === undefined) remaining[key] = value;
    else if (isDeepStrictEqual(value, own)) {
      if (original !== undefined) remaining[key] = original;
    } else if (Array.isArray(value) && Array.isArray(own)) {
      const rest = value.filter((item) => !hasItem(own, item));
      const all = Array.isArray(original) ? [...original.filter((item) => !hasItem(rest, item)), ...rest] : rest;
      if (all.length > 0) remaining[key] = all;
    } else if (isMap(value) && isMap(own)) {
      const rest = Object.fromEntries(
        Object.entries(value).filter(([name, item]) => !isDeepStrictEqual(own[name], item)),
      );
      const all = sortKeysLike(value, { ...(isMap(original) ? original : {}), ...rest });
      if (Object.keys(all).length > 0) remaining[key] = all;
    } else remaining[key] = value;
  }
  return remaining;
}

/** True where dockerd would not start with both: two listeners on one port, two labels of one name. Slipway's wins. */
function isConflicting(key: string, item: unknown, own: readonly unknown[]): boolean {
  if (key === 'labels') return own.some((label) => label !== item && nameOf(label) === nameOf(item));
  if (key !== 'hosts') return false;
  const port = /:(\d+)$/.exec(String(own.at(-1)))?.[1];
  return String(item).startsWith('tcp://') && String(item).endsWith(`:${port}`);
}

function nameOf(pair: unknown): string {
  return String(pair).split('=', 1)[0] ?? '';
}

function hasItem(list: readonly unknown[], item: unknown): boolean {
  return list.some((other) => isDeepStrictEqual(other, item));
}

function isMap(value: unknown): value is DaemonSettings {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function sortKeysLike(model: DaemonSettings, settings: DaemonSettings): DaemonSettings {
  const known = Object.keys(model).filter((key) => key in settings);
  const more = Object.keys(settings).filter((key) => !(key in model));
  return Object.fromEntries([...known, ...more].map((key) => [key, settings[key]]));
}

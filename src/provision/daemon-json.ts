import { isDeepStrictEqual } from 'node:util';
import { parseTree, printParseErrorCode, type Node, type ParseError } from 'jsonc-parser';
import { SlipwayError } from '../errors.ts';
import type { EngineSpec } from '../machine/model.ts';

export type DaemonSettings = Readonly<Record<string, unknown>>;

/** The settings that Slipway wrote to a daemon.json, and those that it replaced. With both, it can undo its changes. */
export type DaemonJsonOwnership = {
  readonly settings: DaemonSettings;
  /** The user's values that Slipway's values replaced. */
  readonly replaced: DaemonSettings;
  /** Whether Slipway created daemon.json. The name is a key of the host's state file. */
  readonly made: boolean;
  /** The bytes of daemon.json before Slipway changed it, in base64; absent if the file did not exist. */
  readonly original?: string;
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
    hosts: [...sockets.filter((socket) => tcpPortOf(socket) !== port), `tcp://${anywhere}:${port}`],
    tls: true,
    tlsverify: true,
    tlscacert: TLS_FILES.ca,
    tlscert: TLS_FILES.cert,
    tlskey: TLS_FILES.key,
    ...engineSettings,
  };
}

/**
 * Returns the settings that the user chose, without those for the engine's sockets and TLS, which Slipway sets. Throws
 * USAGE for options that daemon.json does not support. Called once per run: `validateSpec` passes the settings on.
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

/** Returns the settings that correspond to flags of dockerd, such as `label=a=b` and `debug`. */
export function daemonSettingsFromFlags(flags: readonly string[]): DaemonSettings {
  const settings: Record<string, unknown> = {};
  for (const [name, value] of flags.map(parseOption)) addSetting(settings, name, value);
  return settings;
}

/**
 * Merges the user's settings from two sources, since dockerd refuses a setting that occurs twice. Joins lists and maps;
 * for other settings, `first` wins.
 */
export function mergeForeignSettings(first: DaemonSettings, second: DaemonSettings): DaemonSettings {
  const merged: Record<string, unknown> = { ...first };
  for (const [key, value] of Object.entries(second)) {
    const present = merged[key];
    if (Array.isArray(present) && Array.isArray(value))
      merged[key] = [...present, ...value.filter((item) => !hasItem(present, item))];
    else if (isMap(present) && isMap(value)) merged[key] = { ...value, ...present };
    else if (present === undefined) merged[key] = value;
  }
  return merged;
}

/** Throws USAGE for a duplicate: dockerd refuses two labels with one name, and either of two variables could apply. */
function requireUniqueKeys(flag: string, pairs: readonly string[]): void {
  const names = pairs.map(nameOf);
  const duplicate = names.find((name, index) => names.indexOf(name) !== index);
  if (duplicate === undefined) return;
  throw new SlipwayError('USAGE', `--${flag} ${duplicate} is specified twice`, {
    hint: `Specify one value for ${duplicate}`,
  });
}

/** The flags of dockerd that can be repeated, and their keys in daemon.json. */
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
/** The flags of dockerd that are structures in daemon.json. Their values can't be converted. */
const STRUCTURE_KEYS: Readonly<Record<string, string>> = {
  'default-ulimit': 'default-ulimits',
  'default-address-pool': 'default-address-pools',
  'default-network-opt': 'default-network-opts',
};

/** Returns the key in daemon.json of a flag of dockerd. */
export function daemonKeyOf(flag: string): string {
  if (flag === 'host') return 'hosts';
  return LIST_KEYS[flag] ?? MAP_KEYS[flag] ?? STRUCTURE_KEYS[flag] ?? flag;
}

/** Returns whether the value of a flag can be moved to daemon.json. */
export function canMoveToDaemonJson(flag: string): boolean {
  return !(flag in STRUCTURE_KEYS);
}

/** Flags that Slipway sets itself, or that daemon.json does not support. */
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
  // The flags that are structures in daemon.json: default-ulimits, default-address-pools, features, runtimes.
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

/**
 * Parses a daemon.json. Throws DAEMON_JSON with line and column for invalid text, which stays unchanged on the host.
 */
export function parseDaemonJson(text: string | undefined, where: string): DaemonSettings {
  const bare = text?.replace(/^\u{feff}/u, '') ?? '';
  if (bare.trim() === '') return {};
  const errors: ParseError[] = [];
  const tree = parseTree(bare, errors, { disallowComments: true, allowTrailingComma: false });
  const value = tree && errors.length === 0 ? valueOf(tree) : undefined;
  const first = errors[0];
  if (!isMap(value)) {
    const what = first ? splitCamelCase(printParseErrorCode(first.error)) : 'it is not an object';
    throw brokenDaemonJsonError(bare, first?.offset ?? 0, what, where);
  }
  const unknown = Object.keys(value).find((key) => /[A-Z]/.test(key));
  if (unknown === undefined) return value;
  const what = `dockerd does not know the setting "${unknown}": its settings are in lowercase`;
  throw brokenDaemonJsonError(bare, bare.indexOf(JSON.stringify(unknown)), what, where);
}

/** Returns the error for a daemon.json that is broken at this offset. */
export function brokenDaemonJsonError(text: string, offset: number, what: string, where: string): SlipwayError {
  const before = text.slice(0, Math.max(0, offset)).split('\n');
  return new SlipwayError(
    'DAEMON_JSON',
    `/etc/docker/daemon.json on ${where} is broken at line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${what}`,
    { hint: 'Fix it on the host, then run the same command again. Slipway did not change it' },
  );
}

/** Converts a parsed text. Of a key that occurs twice, dockerd takes the last value, and joins maps. */
function valueOf(node: Node): unknown {
  if (node.type === 'array') return (node.children ?? []).map(valueOf);
  if (node.type !== 'object') return node.value as unknown;
  const entries = new Map<string, unknown>();
  for (const { children: [key, value] = [] } of node.children ?? []) {
    if (!key || !value) continue;
    const name = String(key.value);
    const [earlier, later] = [entries.get(name), valueOf(value)];
    entries.set(name, isMap(earlier) && isMap(later) ? { ...earlier, ...later } : later);
  }
  return Object.fromEntries(entries);
}

/** `CommaExpected` -> `comma expected`. */
function splitCamelCase(code: string): string {
  return code.replaceAll(/(?!^)[A-Z]/g, (letter) => ` ${letter}`).toLowerCase();
}

/**
 * Returns the wanted daemon.json: keeps the user's settings, and removes those of Slipway's that are no longer wanted.
 * Lists and maps can contain items of both.
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
      const keptItems = foreignValue.filter((item) => !isConflicting(key, item, value));
      const addedItems = value.filter((item) => !hasItem(keptItems, item));
      merged[key] = [...keptItems, ...addedItems];
      settings[key] = addedItems;
      if (keptItems.length < foreignValue.length)
        replaced[key] = foreignValue.filter((item) => !hasItem(keptItems, item));
    } else if (isMap(value) && isMap(foreignValue)) {
      merged[key] = { ...foreignValue, ...value };
      settings[key] = value;
      const overridden = Object.entries(foreignValue).filter(([name]) => name in value);
      if (overridden.length > 0) replaced[key] = Object.fromEntries(overridden);
    } else if (!isDeepStrictEqual(foreignValue, value)) {
      merged[key] = value;
      settings[key] = value;
      if (foreignValue !== undefined) replaced[key] = foreignValue;
    }
  }
  const made = before?.made ?? Object.keys(present).length === 0;
  return { merged: sortKeysLike(present, merged), ownership: { settings, replaced, made } };
}

/** Returns daemon.json without Slipway's settings. `--deprovision` restores this, and a merge starts from it. */
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
      const items = Array.isArray(original) ? [...original.filter((item) => !hasItem(rest, item)), ...rest] : rest;
      if (items.length > 0) remaining[key] = items;
    } else if (isMap(value) && isMap(own)) {
      const rest = Object.fromEntries(
        Object.entries(value).filter(([name, item]) => !isDeepStrictEqual(own[name], item)),
      );
      const entries = sortKeysLike(value, { ...(isMap(original) ? original : {}), ...rest });
      if (Object.keys(entries).length > 0) remaining[key] = entries;
    } else remaining[key] = value;
  }
  return remaining;
}

/**
 * Returns whether dockerd would refuse to start with the user's item and Slipway's: two sockets on one port, or two
 * labels with one name. Slipway's item wins.
 */
function isConflicting(key: string, item: unknown, own: readonly unknown[]): boolean {
  if (key === 'labels') return own.some((label) => label !== item && nameOf(label) === nameOf(item));
  if (key !== 'hosts') return false;
  const port = tcpPortOf(String(own.at(-1)));
  return port !== undefined && tcpPortOf(String(item)) === port;
}

/** The port of `-H tcp://0.0.0.0` with TLS, without a port. */
const DEFAULT_TLS_PORT = 2376;

/** Returns the port of a TCP listener among the engine's hosts, as dockerd reads it; undefined for other hosts. */
export function tcpPortOf(host: string): number | undefined {
  const scheme = /^([a-z]+):\/\//.exec(host)?.[1];
  if (scheme !== undefined && scheme !== 'tcp') return undefined;
  const port = /:(\d+)$/.exec(host.replace(/^tcp:\/\//, '').replace(/\/.*$/, ''))?.[1];
  return port === undefined ? DEFAULT_TLS_PORT : Number(port);
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

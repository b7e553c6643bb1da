import { isDeepStrictEqual } from 'node:util';
import { parse, printParseErrorCode, type ParseError } from 'jsonc-parser';
import { SlipwayError } from '../errors.ts';
import type { EngineSpec } from '../machine/model.ts';

export type DaemonSettings = Readonly<Record<string, unknown>>;

/** What we put into a daemon.json, and what stood there before: enough to change our mind, and to undo it all. */
export type DaemonJsonOwnership = {
  readonly settings: DaemonSettings;
  /** Values of somebody else's that ours stand in for. */
  readonly replaced: DaemonSettings;
  /** No daemon.json was there before ours. */
  readonly made: boolean;
};

export const DAEMON_JSON = '/etc/docker/daemon.json';

export const TLS_FILES = {
  ca: '/etc/docker/slipway/ca.pem',
  cert: '/etc/docker/slipway/server-cert.pem',
  key: '/etc/docker/slipway/server-key.pem',
} as const;

/** Returns the settings of a spec's engine. `sockets` are those that the unit's own command line listened on. */
export function daemonSettingsFor(engine: EngineSpec, address: string, sockets: readonly string[]): DaemonSettings {
  const anywhere = address.includes(':') ? '[::]' : '0.0.0.0';
  return {
    hosts: [...sockets.filter((socket) => !socket.endsWith(`:${engine.port}`)), `tcp://${anywhere}:${engine.port}`],
    tls: true,
    tlsverify: true,
    tlscacert: TLS_FILES.ca,
    tlscert: TLS_FILES.cert,
    tlskey: TLS_FILES.key,
    ...engineSettingsOf(engine),
  };
}

const parsedSettings = new WeakMap<EngineSpec, DaemonSettings>();

/**
 * Returns the settings that the user chose, without those for the engine's sockets and TLS, which are Slipway's own. Throws
 * `USAGE` for options that daemon.json can't hold. Remembers them by the spec, which never changes: validation, the first
 * boot and the plan of one run all ask for them.
 */
export function engineSettingsOf(engine: EngineSpec): DaemonSettings {
  const known = parsedSettings.get(engine);
  if (known) return known;
  const settings = parseEngineSettings(engine);
  parsedSettings.set(engine, settings);
  return settings;
}

function parseEngineSettings(engine: EngineSpec): DaemonSettings {
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

/** What flags of dockerd come to as settings: `label=a=b`, `debug`. */
export function daemonSettingsFromFlags(flags: readonly string[]): DaemonSettings {
  const settings: Record<string, unknown> = {};
  for (const [name, value] of flags.map(parseOption)) addSetting(settings, name, value);
  return settings;
}

/** Both are somebody else's; dockerd takes no setting from two places, so what is in one alone counts, and lists are one. */
export function mergeForeignSettings(first: DaemonSettings, second: DaemonSettings): DaemonSettings {
  const all: Record<string, unknown> = { ...first };
  for (const [key, value] of Object.entries(second)) {
    const there = all[key];
    if (Array.isArray(there) && Array.isArray(value))
      all[key] = [...there, ...value.filter((item) => !hasItem(there, item))];
    else if (isMap(there) && isMap(value)) all[key] = { ...value, ...there };
    else if (there === undefined) all[key] = value;
  }
  return all;
}

/** dockerd would refuse the second label, and nobody could tell which of two variables counts. */
function requireUniqueKeys(flag: string, pairs: readonly string[]): void {
  const names = pairs.map(nameOf);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return;
  throw new SlipwayError('USAGE', `--${flag} ${twice} is given twice`, { hint: `Give one value for ${twice}` });
}

/** dockerd's flags that may be given more than once, and the key that holds them in daemon.json. */
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
/** Ours to set, or without a place in daemon.json. */
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
    throw new SlipwayError('USAGE', `--engine-opt ${name} is Slipway's own to set`, {
      hint: 'The engine listens on its Unix socket and on --engine-port with TLS; --tls-san adds names',
    });
  }
  return [name, equals < 0 ? 'true' : bare.slice(equals + 1)];
}

function addSetting(settings: Record<string, unknown>, name: string, value: string): void {
  const list = LIST_KEYS[name];
  const map = MAP_KEYS[name];
  if (list !== undefined) {
    const before = (settings[list] as readonly string[] | undefined) ?? [];
    settings[list] = before.includes(value) ? before : [...before, value];
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
      throw new SlipwayError('USAGE', `--engine-opt ${name}: the value begins like JSON but is not`, {
        hint: 'Structures are written as in daemon.json: --engine-opt \'default-ulimits={"nofile":{"Name":"nofile","Soft":1024,"Hard":2048}}\'',
        cause: error,
      });
    }
  }
  return value;
}

/** A daemon.json's text -> its settings. A broken one is named by line and column; it is never touched. */
export function parseDaemonJson(text: string | undefined, where: string): DaemonSettings {
  if (text === undefined || text.trim() === '') return {};
  const errors: ParseError[] = [];
  // Not its tree: values taken from that have no prototype, so they equal none of ours.
  const value: unknown = parse(text, errors, { disallowComments: true, allowTrailingComma: false });
  const first = errors[0];
  if (first || !isMap(value)) {
    const before = text.slice(0, first?.offset ?? 0).split('\n');
    const what = first ? splitCamelCase(printParseErrorCode(first.error)) : 'it holds no object';
    throw new SlipwayError(
      'DAEMON_JSON',
      `/etc/docker/daemon.json on ${where} is broken at line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${what}`,
      {
        hint: 'Mend it on the host, then run this again; it was left as it is',
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
 * The file as it should be: what is somebody else's stays; what was ours and is no longer asked for goes; lists and maps are
 * shared item by item.
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
    const theirs = foreign[key];
    if (Array.isArray(value) && Array.isArray(theirs)) {
      const kept = theirs.filter((item) => !isConflicting(key, item, value));
      const added = value.filter((item) => !hasItem(kept, item));
      merged[key] = [...kept, ...added];
      settings[key] = added;
      if (kept.length < theirs.length) replaced[key] = theirs.filter((item) => !hasItem(kept, item));
    } else if (isMap(value) && isMap(theirs)) {
      merged[key] = { ...theirs, ...value };
      settings[key] = value;
      const hidden = Object.entries(theirs).filter(([name]) => name in value);
      if (hidden.length > 0) replaced[key] = Object.fromEntries(hidden);
    } else if (!isDeepStrictEqual(theirs, value)) {
      merged[key] = value;
      settings[key] = value;
      if (theirs !== undefined) replaced[key] = theirs;
    }
  }
  const made = before?.made ?? Object.keys(present).length === 0;
  return { merged: sortKeysLike(present, merged), ownership: { settings, replaced, made } };
}

/** The file without us: what `--deprovision` puts back, and what a merge starts from. */
export function withoutOwnSettings(present: DaemonSettings, before: DaemonJsonOwnership | undefined): DaemonSettings {
  if (!before) return present;
  const left: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(present)) {
    const ours = before.settings[key];
    const theirs = before.replaced[key];
    if (ours === undefined) left[key] = value;
    else if (isDeepStrictEqual(value, ours)) {
      if (theirs !== undefined) left[key] = theirs;
    } else if (Array.isArray(value) && Array.isArray(ours)) {
      const rest = value.filter((item) => !hasItem(ours, item));
      const all = Array.isArray(theirs) ? [...theirs.filter((item) => !hasItem(rest, item)), ...rest] : rest;
      if (all.length > 0) left[key] = all;
    } else if (isMap(value) && isMap(ours)) {
      const rest = Object.fromEntries(
        Object.entries(value).filter(([name, item]) => !isDeepStrictEqual(ours[name], item)),
      );
      const all = sortKeysLike(value, { ...(isMap(theirs) ? theirs : {}), ...rest });
      if (Object.keys(all).length > 0) left[key] = all;
    } else left[key] = value;
  }
  return left;
}

/** Two listeners can't have one port, nor two labels one name: dockerd would not start, so theirs gives way to ours. */
function isConflicting(key: string, theirs: unknown, ours: readonly unknown[]): boolean {
  if (key === 'labels') return ours.some((label) => label !== theirs && nameOf(label) === nameOf(theirs));
  if (key !== 'hosts') return false;
  const port = /:(\d+)$/.exec(String(ours.at(-1)))?.[1];
  return String(theirs).startsWith('tcp://') && String(theirs).endsWith(`:${port}`);
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

import { getDriver } from '../drivers/registry.ts';
import type { DriverManifest } from '../drivers/contract.ts';
import type { EngineSpec, MachineSpec } from '../machine/model.ts';
import { defaultProfiles } from '../profiles/registry.ts';
import { engineOptions, lifetimeOptions, withoutUnusedInstallUrl, withInferredSource } from '../machine/spec.ts';
import { formatPath } from './check-file.ts';
import type { FleetSource } from './read-sources.ts';
import type { FileProblem } from './file-problems.ts';
import {
  NO_SETTINGS,
  mergeSettings,
  positionOfSetting,
  type DriverSections,
  listDriverSections,
  type FleetSetting,
  type FleetSettings,
  settingsAt,
  valuesIn,
} from './settings.ts';
import { resolveExtends, collectTemplates, type FleetTemplates } from './templates.ts';

/** A machine as a file wants it: all that a spec is but what belongs to the one that exists. */
export type WantedSpec = Omit<MachineSpec, 'id' | 'batch' | 'userOptions'>;

/** `entry` is the name under which it stands in the file: machines of one count have the same. */
export type WantedMachine = { readonly entry: string; readonly spec: WantedSpec };

/** What the files say, and by which mark the machines that are made of it are known. */
export type Fleet = {
  readonly displayPath: string;
  readonly fleetId: string;
  readonly machines: readonly WantedMachine[];
};

/** What `${NAME}` and `~` stand for. */
export type FleetEnvironment = { readonly env: Readonly<Record<string, string | undefined>>; readonly home: string };

/** More in one file are a mistake in a count. */
const MAX_MACHINES = 10_000;

/** An entry of `machines`: what it says itself, and where it stands. */
type FleetEntry = { readonly name: string; readonly own: FleetSettings; readonly location: FleetSetting };
type FleetLayers = {
  readonly defaults: FleetSettings;
  readonly templates: FleetTemplates;
  readonly entries: readonly FleetEntry[];
};
type FleetResult = { readonly fleet: Fleet; readonly problems: readonly FileProblem[] };

/** The sources, the farthest first, made into machines, or into what is wrong with them together. */
export function buildFleet(sources: readonly FleetSource[], place: string, around: FleetEnvironment): FleetResult {
  const root = sources.at(-1);
  const wrongs = sources.flatMap((source) => source.problems);
  const { name } = (root?.parsed.value ?? {}) as { readonly name?: string };
  const fleet = (machines: readonly WantedMachine[]): Fleet => ({
    displayPath: root?.displayPath ?? '',
    fleetId: name ?? place,
    machines,
  });
  // What is wrong with defaults and templates is wrong with every machine, and was told once.
  if (wrongs.some(({ path }) => path[0] !== 'machines' || path.length < 2)) return { fleet: fleet([]), problems: [] };
  const layers = collectLayers(sources, around.home);
  const mistakes: FileProblem[] = [];
  const spoilt = new Set(wrongs.map(({ path }) => path[1]));
  const made = layers.entries
    .filter((entry) => !spoilt.has(entry.name))
    .map((entry) => ({ entry, wanted: expandEntry(entry, layers, around, mistakes) }));
  return { fleet: fleet(made.flatMap(({ wanted }) => wanted)), problems: [...mistakes, ...findNameConflicts(made)] };
}

function collectLayers(sources: readonly FleetSource[], home: string): FleetLayers {
  const known: DriverSections = listDriverSections();
  const entries = new Map<string, FleetEntry>();
  for (const source of sources) {
    const { machines } = source.parsed.value as { readonly machines?: Readonly<Record<string, unknown>> | null };
    for (const name of Object.keys(machines ?? {})) {
      const path = ['machines', name];
      const own = mergeSettings(entries.get(name)?.own ?? NO_SETTINGS, settingsAt(source, path, known, home));
      entries.set(name, { name, own, location: { value: undefined, source, path } });
    }
  }
  return {
    defaults: mergeSettings(...sources.map((source) => settingsAt(source, ['defaults'], known, home))),
    templates: collectTemplates(sources, known, home),
    entries: [...entries.values()],
  };
}

function expandEntry(
  entry: FleetEntry,
  layers: FleetLayers,
  around: FleetEnvironment,
  mistakes: FileProblem[],
): readonly WantedMachine[] {
  const found: FileProblem[] = [];
  const shared = resolveExtends(entry.own, layers.templates, found);
  const settings = mergeSettings(layers.defaults, shared, entry.own);
  const driver = resolveDriver(entry, shared, layers.defaults, found);
  const spec = driver && buildSpec(entry, driver, settings, around, found);
  mistakes.push(...found);
  if (!spec || found.length > 0) return [];
  const count = settings.get('count')?.value;
  const names =
    count === undefined ? [entry.name] : Array.from({ length: Number(count) }, (_, at) => `${entry.name}-${at + 1}`);
  return names.map((name) => ({ entry: entry.name, spec: { name, ...spec } }));
}

/**
 * The nearest word counts: the machine's own, then its templates', then the defaults'; a section alone is such a word.
 */
function resolveDriver(
  { name, own, location }: FleetEntry,
  shared: FleetSettings,
  defaults: FleetSettings,
  found: FileProblem[],
): DriverManifest | undefined {
  const said = (settings: FleetSettings): string | undefined =>
    (settings.get('driver')?.value as string | undefined) ?? onlySection(settings);
  const called = said(own) ?? said(shared) ?? (defaults.get('driver')?.value as string | undefined);
  if (called === undefined) {
    found.push({
      at: positionOfSetting(location),
      message: `machines.${name} has no driver; for a virtual machine of this computer: driver: qemu`,
    });
    return undefined;
  }
  const driver = getDriver(called);
  for (const [key, setting] of own) {
    if (!key.startsWith('#') || ['#engine', `#${driver.name}`].includes(key)) continue;
    found.push({
      at: setting.source.parsed.keyPositionOf(setting.path),
      message: `machines.${name} is of the driver ${driver.name}, so nothing reads its section ${setting.path.at(-1)}`,
    });
  }
  return driver;
}

function onlySection(settings: FleetSettings): string | undefined {
  const named = [...settings.keys()].filter((key) => key.startsWith('#') && key !== '#engine');
  return named.length === 1 ? named[0]?.slice(1) : undefined;
}

function buildSpec(
  entry: FleetEntry,
  driver: DriverManifest,
  settings: FleetSettings,
  around: FleetEnvironment,
  found: FileProblem[],
): Omit<WantedSpec, 'name'> | undefined {
  const options = driver.options.safeParse(valuesIn(settings, driver.name));
  if (!options.success) found.push(...optionProblems(entry, driver.name, settings, options.error.issues));
  const engine = buildEngineSpec(entry, settings, around, found);
  const lifetime = lifetimeOptions.parse({
    ttl: settings.get('ttl')?.value,
    idleStop: settings.get('idleStop')?.value,
  });
  const hasLifetime = lifetime.ttl !== undefined || lifetime.idleStop !== undefined;
  if (hasLifetime && !driver.shutdownBehavior) found.push(noLifetimeProblem(driver, settings));
  if (!options.success || !engine) return undefined;
  return {
    driver: driver.name,
    options: options.data,
    engine,
    profiles: (settings.get('profiles')?.value as readonly string[] | undefined) ?? defaultProfiles,
    ...(hasLifetime ? { lifetime } : {}),
  };
}

/** Nothing of ours runs on its host that could do it. */
function noLifetimeProblem({ name }: DriverManifest, settings: FleetSettings): FileProblem {
  const key = settings.has('ttl') ? 'ttl' : 'idleStop';
  const setting = settings.get(key);
  if (!setting) throw new Error('a machine without a life was found to have one');
  return {
    at: positionOfSetting(setting),
    message: `a machine of the driver ${name} can't end or stop by itself, so it has no ${key}`,
  };
}

type SchemaIssue = { readonly path: readonly PropertyKey[]; readonly message: string };

/** What no single value is to blame for: options that are missing. */
function optionProblems(
  entry: FleetEntry,
  section: string,
  settings: FleetSettings,
  issues: readonly SchemaIssue[],
): readonly FileProblem[] {
  return issues.map(({ path: [key], message }) => {
    const setting = settings.get(`${section}.${String(key)}`);
    const name = formatPath(['machines', entry.name, section, String(key)]);
    return setting
      ? { at: positionOfSetting(setting), message: `${name} must be ${message}` }
      : { at: positionOfSetting(settings.get(`#${section}`) ?? entry.location), message: `${name} is missing` };
  });
}

function buildEngineSpec(
  entry: FleetEntry,
  settings: FleetSettings,
  { env }: FleetEnvironment,
  found: FileProblem[],
): EngineSpec | undefined {
  const variables = settings.get('engine.env');
  const values = {
    ...valuesIn(settings, 'engine'),
    ...(variables ? { env: expandVariables(variables, env, found) } : {}),
  };
  const engine = engineOptions.safeParse(withInferredSource(values));
  if (engine.success) return withoutUnusedInstallUrl(engine.data);
  found.push(...optionProblems(entry, 'engine', settings, engine.error.issues));
  return undefined;
}

/** `${NAME}` is the environment's; `$${` is what it looks like without its first sign. */
function expandVariables(
  variables: FleetSetting,
  env: FleetEnvironment['env'],
  found: FileProblem[],
): readonly string[] {
  return (variables.value as readonly string[]).map((text, index) =>
    text.replaceAll(/\$?\$\{([^}]*)\}/g, (whole, name: string) => {
      if (whole.startsWith('$$')) return whole.slice(1);
      const value = /^\w+$/.test(name) ? env[name] : undefined;
      if (value !== undefined) return value;
      const at = variables.source.parsed.positionOf([...variables.path, index]);
      found.push({ at, message: `the environment has no variable ${name}, which engine.env takes its value from` });
      return '';
    }),
  );
}

/** Names that two entries make, and more machines than anybody means. */
function findNameConflicts(
  made: readonly { readonly entry: FleetEntry; readonly wanted: readonly WantedMachine[] }[],
): readonly FileProblem[] {
  const owner = new Map<string, string>();
  const mistakes: FileProblem[] = [];
  for (const { entry, wanted } of made) {
    const twice = wanted.find(({ spec }) => owner.has(spec.name))?.spec.name;
    if (twice !== undefined)
      mistakes.push({
        at: entry.location.source.parsed.keyPositionOf(entry.location.path),
        message: `machines.${entry.name} makes a machine named ${twice}, and so does machines.${owner.get(twice)}`,
      });
    for (const { spec } of wanted) owner.set(spec.name, entry.name);
  }
  const last = made.at(-1)?.entry;
  if (owner.size <= MAX_MACHINES || !last) return mistakes;
  const at = last.location.source.parsed.positionOf(['machines']);
  return [...mistakes, { at, message: `machines are ${owner.size} in all, and at most ${MAX_MACHINES}` }];
}

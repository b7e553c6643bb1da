import { getDriver } from '../drivers/registry.ts';
import type { DriverManifest } from '../drivers/contract.ts';
import type { EngineSpec, MachineSpec } from '../machine/model.ts';
import { defaultProfiles } from '../profiles/registry.ts';
import { withSeparateLogins } from '../machine/engine-logins.ts';
import {
  engineOptions,
  lifetimeOptions,
  sharingMember,
  sharingOptions,
  withoutUnusedInstallUrl,
  withInferredSource,
} from '../machine/spec.ts';
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

/** A machine as the file describes it: a spec without what only an existing machine has. */
export type WantedSpec = Omit<MachineSpec, 'id' | 'batch' | 'userOptions'>;

/** `entry` is the machine's key in the file. All machines of an entry with a `count` share it. */
export type WantedMachine = { readonly entry: string; readonly spec: WantedSpec };

/** The machines that the files describe. `fleetId` identifies, in the records, machines created from this file. */
export type Fleet = {
  readonly displayPath: string;
  readonly fleetId: string;
  readonly machines: readonly WantedMachine[];
};

/** The values of `${NAME}` and `~`. */
export type FleetEnvironment = { readonly env: Readonly<Record<string, string | undefined>>; readonly home: string };

/** More than this in one fleet is taken for a mistake in a `count`. */
const MAX_MACHINES = 10_000;

/** An entry of `machines`: its own settings and its location. */
type FleetEntry = { readonly name: string; readonly own: FleetSettings; readonly location: FleetSetting };
type FleetLayers = {
  readonly defaults: FleetSettings;
  readonly templates: FleetTemplates;
  readonly entries: readonly FleetEntry[];
};
type FleetResult = { readonly fleet: Fleet; readonly problems: readonly FileProblem[] };

/**
 * Builds the machines from the sources, base files first. Also returns the problems that only show when the sources
 * are combined.
 */
export function buildFleet(sources: readonly FleetSource[], path: string, environment: FleetEnvironment): FleetResult {
  const root = sources.at(-1);
  const fileProblems = sources.flatMap((source) => source.problems);
  const { name } = (root?.parsed.value ?? {}) as { readonly name?: string };
  const fleet = (machines: readonly WantedMachine[]): Fleet => ({
    displayPath: root?.displayPath ?? '',
    fleetId: name ?? path,
    machines,
  });
  // Wrong defaults or templates would be reported again for every machine.
  if (fileProblems.some(({ path }) => path[0] !== 'machines' || path.length < 2))
    return { fleet: fleet([]), problems: [] };
  const layers = collectLayers(sources, environment.home);
  const problems: FileProblem[] = [];
  const invalidEntries = new Set(fileProblems.map(({ path }) => path[1]));
  const expanded = layers.entries
    .filter((entry) => !invalidEntries.has(entry.name))
    .map((entry) => ({ entry, machines: expandEntry(entry, layers, environment, problems) }));
  return {
    fleet: fleet(expanded.flatMap(({ machines }) => machines)),
    problems: [...problems, ...findNameConflicts(expanded)],
  };
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
  environment: FleetEnvironment,
  problems: FileProblem[],
): readonly WantedMachine[] {
  const found: FileProblem[] = [];
  const shared = resolveExtends(entry.own, layers.templates, found);
  const settings = mergeSettings(layers.defaults, shared, entry.own);
  const driver = resolveDriver(entry, shared, layers.defaults, found);
  const spec = driver && buildSpec(entry, driver, settings, environment, found);
  problems.push(...found);
  if (!spec || found.length > 0) return [];
  const count = settings.get('count')?.value;
  const names =
    count === undefined ? [entry.name] : Array.from({ length: Number(count) }, (_, at) => `${entry.name}-${at + 1}`);
  return names.map((name) => ({ entry: entry.name, spec: { name, ...spec } }));
}

/**
 * Returns the driver from the closest setting: the machine's own, then its templates', then the defaults'. In a machine
 * or a template, a single driver section counts as the setting.
 */
function resolveDriver(
  { name, own, location }: FleetEntry,
  shared: FleetSettings,
  defaults: FleetSettings,
  found: FileProblem[],
): DriverManifest | undefined {
  const driverOf = (settings: FleetSettings): string | undefined =>
    (settings.get('driver')?.value as string | undefined) ?? onlySection(settings);
  const driverName = driverOf(own) ?? driverOf(shared) ?? (defaults.get('driver')?.value as string | undefined);
  if (driverName === undefined) {
    found.push({
      at: positionOfSetting(location),
      message: `machines.${name} has no driver; for a VM on this computer, add driver: qemu`,
    });
    return undefined;
  }
  const driver = getDriver(driverName);
  for (const [key, setting] of own) {
    if (!key.startsWith('#') || ['#engine', `#${driver.name}`].includes(key)) continue;
    found.push({
      at: setting.source.parsed.keyPositionOf(setting.path),
      message: `machines.${name} uses the driver ${driver.name}, so its section ${setting.path.at(-1)} has no effect`,
    });
  }
  return driver;
}

function onlySection(settings: FleetSettings): string | undefined {
  const sections = [...settings.keys()].filter((key) => key.startsWith('#') && key !== '#engine');
  return sections.length === 1 ? sections[0]?.slice(1) : undefined;
}

function buildSpec(
  entry: FleetEntry,
  driver: DriverManifest,
  settings: FleetSettings,
  environment: FleetEnvironment,
  found: FileProblem[],
): Omit<WantedSpec, 'name'> | undefined {
  const options = driver.options.safeParse(valuesIn(settings, driver.name));
  if (!options.success) found.push(...optionProblems(entry, driver.name, settings, options.error.issues));
  const engine = buildEngineSpec(entry, settings, environment, found);
  const lifetime = lifetimeOptions.parse({
    ttl: settings.get('ttl')?.value,
    idleStop: settings.get('idleStop')?.value,
  });
  const sharing = sharingOptions.parse({
    link: settings.get('link')?.value,
    publishOn: settings.get('publishOn')?.value,
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
    ...sharingMember(sharing),
  };
}

/** Slipway runs nothing on the hosts of such a driver that could end or stop them. */
function noLifetimeProblem({ name }: DriverManifest, settings: FleetSettings): FileProblem {
  const key = settings.has('ttl') ? 'ttl' : 'idleStop';
  const setting = settings.get(key);
  if (!setting) throw new Error('a machine without a lifetime was found to have one');
  return {
    at: positionOfSetting(setting),
    message: `machines of the driver ${name} can't end or stop by themselves, so ${key} is not allowed`,
  };
}

type SchemaIssue = { readonly path: readonly PropertyKey[]; readonly message: string };

/** Turns a schema's issues into problems at the option, or at its section if the option is missing. */
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
  if (engine.success) return withSeparateLogins(withoutUnusedInstallUrl(engine.data));
  found.push(...optionProblems(entry, 'engine', settings, engine.error.issues));
  return undefined;
}

/** Replaces `${NAME}` with the variable's value, and the escape `$${` with `${`. */
function expandVariables(
  variables: FleetSetting,
  env: FleetEnvironment['env'],
  found: FileProblem[],
): readonly string[] {
  return (variables.value as readonly string[]).map((text, index) =>
    text.replaceAll(/\$?\$\{([^}]*)\}/g, (match, name: string) => {
      if (match.startsWith('$$')) return match.slice(1);
      const value = /^\w+$/.test(name) ? env[name] : undefined;
      if (value !== undefined) return value;
      const at = variables.source.parsed.positionOf([...variables.path, index]);
      found.push({ at, message: `the environment variable ${name}, which engine.env uses, is not set` });
      return '';
    }),
  );
}

/** Reports names that two entries produce, and a total that is too large to be meant. */
function findNameConflicts(
  expanded: readonly { readonly entry: FleetEntry; readonly machines: readonly WantedMachine[] }[],
): readonly FileProblem[] {
  const entryByMachine = new Map<string, string>();
  const problems: FileProblem[] = [];
  for (const { entry, machines } of expanded) {
    const duplicate = machines.find(({ spec }) => entryByMachine.has(spec.name))?.spec.name;
    if (duplicate !== undefined)
      problems.push({
        at: entry.location.source.parsed.keyPositionOf(entry.location.path),
        message: `machines.${entryByMachine.get(duplicate)} and machines.${entry.name} both define a machine named ${duplicate}`,
      });
    for (const { spec } of machines) entryByMachine.set(spec.name, entry.name);
  }
  const last = expanded.at(-1)?.entry;
  const total = entryByMachine.size;
  if (total <= MAX_MACHINES || !last) return problems;
  const at = last.location.source.parsed.positionOf(['machines']);
  return [...problems, { at, message: `${total} machines are defined; the maximum is ${MAX_MACHINES}` }];
}

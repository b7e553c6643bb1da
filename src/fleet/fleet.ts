import { driverNamed } from '../drivers/registry.ts';
import type { Driver } from '../drivers/contract.ts';
import type { EngineSpec, MachineSpec } from '../machine/model.ts';
import { defaultProfiles } from '../profiles/registry.ts';
import { engineOptions, lifeOptions, settledSource, withSource } from '../machine/spec.ts';
import { nameOf } from './check.ts';
import type { Source } from './files.ts';
import type { Mistake } from './mistakes.ts';
import {
  NOTHING,
  over,
  placeOf,
  type Sections,
  sections,
  type Setting,
  type Settings,
  settingsAt,
  valuesIn,
} from './settings.ts';
import { extended, templatesOf, type Templates } from './templates.ts';

/** A machine as a file wants it: all that a spec is but what belongs to the one that exists. */
export type WantedSpec = Omit<MachineSpec, 'id' | 'batch' | 'given'>;

/** `entry` is the name under which it stands in the file: machines of one count have the same. */
export type Wanted = { readonly entry: string; readonly spec: WantedSpec };

/** What the files say, and by which mark the machines that are made of it are known. */
export type Fleet = { readonly shown: string; readonly mark: string; readonly wanted: readonly Wanted[] };

/** What `${NAME}` and `~` stand for. */
export type Around = { readonly env: Readonly<Record<string, string | undefined>>; readonly home: string };

/** More in one file are a mistake in a count. */
const MOST_MACHINES = 10_000;

/** An entry of `machines`: what it says itself, and where it stands. */
type Entry = { readonly name: string; readonly own: Settings; readonly here: Setting };
type Layers = { readonly defaults: Settings; readonly templates: Templates; readonly entries: readonly Entry[] };
type Made = { readonly fleet: Fleet; readonly mistakes: readonly Mistake[] };

/** The sources, the farthest first, made into machines, or into what is wrong with them together. */
export function fleetOf(sources: readonly Source[], place: string, around: Around): Made {
  const root = sources.at(-1);
  const wrongs = sources.flatMap((source) => source.wrongs);
  const { name } = (root?.parsed.value ?? {}) as { readonly name?: string };
  const fleet = (wanted: readonly Wanted[]): Fleet => ({ shown: root?.shown ?? '', mark: name ?? place, wanted });
  // What is wrong with defaults and templates is wrong with every machine, and was told once.
  if (wrongs.some(({ path }) => path[0] !== 'machines' || path.length < 2)) return { fleet: fleet([]), mistakes: [] };
  const layers = layersOf(sources, around.home);
  const mistakes: Mistake[] = [];
  const spoilt = new Set(wrongs.map(({ path }) => path[1]));
  const made = layers.entries
    .filter((entry) => !spoilt.has(entry.name))
    .map((entry) => ({ entry, wanted: machinesOf(entry, layers, around, mistakes) }));
  return { fleet: fleet(made.flatMap(({ wanted }) => wanted)), mistakes: [...mistakes, ...crowds(made)] };
}

function layersOf(sources: readonly Source[], home: string): Layers {
  const known: Sections = sections();
  const entries = new Map<string, Entry>();
  for (const source of sources) {
    const { machines } = source.parsed.value as { readonly machines?: Readonly<Record<string, unknown>> | null };
    for (const name of Object.keys(machines ?? {})) {
      const path = ['machines', name];
      const own = over(entries.get(name)?.own ?? NOTHING, settingsAt(source, path, known, home));
      entries.set(name, { name, own, here: { value: undefined, source, path } });
    }
  }
  return {
    defaults: over(...sources.map((source) => settingsAt(source, ['defaults'], known, home))),
    templates: templatesOf(sources, known, home),
    entries: [...entries.values()],
  };
}

function machinesOf(entry: Entry, layers: Layers, around: Around, mistakes: Mistake[]): readonly Wanted[] {
  const found: Mistake[] = [];
  const shared = extended(entry.own, layers.templates, found);
  const settings = over(layers.defaults, shared, entry.own);
  const driver = driverOf(entry, shared, layers.defaults, found);
  const spec = driver && specOf(entry, driver, settings, around, found);
  mistakes.push(...found);
  if (!spec || found.length > 0) return [];
  const count = settings.get('count')?.value;
  const names =
    count === undefined ? [entry.name] : Array.from({ length: Number(count) }, (_, at) => `${entry.name}-${at + 1}`);
  return names.map((name) => ({ entry: entry.name, spec: { name, ...spec } }));
}

/** The nearest word counts: the machine's own, then its templates', then the defaults'; a section alone is such a word. */
function driverOf(
  { name, own, here }: Entry,
  shared: Settings,
  defaults: Settings,
  found: Mistake[],
): Driver | undefined {
  const said = (settings: Settings): string | undefined =>
    (settings.get('driver')?.value as string | undefined) ?? onlySection(settings);
  const called = said(own) ?? said(shared) ?? (defaults.get('driver')?.value as string | undefined);
  if (called === undefined) {
    found.push({
      at: placeOf(here),
      says: `machines.${name} has no driver; for a virtual machine of this computer: driver: qemu`,
    });
    return undefined;
  }
  const driver = driverNamed(called);
  for (const [key, setting] of own) {
    if (!key.startsWith('#') || ['#engine', `#${driver.name}`].includes(key)) continue;
    found.push({
      at: setting.source.parsed.keyPlace(setting.path),
      says: `machines.${name} is of the driver ${driver.name}, so nothing reads its section ${setting.path.at(-1)}`,
    });
  }
  return driver;
}

function onlySection(settings: Settings): string | undefined {
  const named = [...settings.keys()].filter((key) => key.startsWith('#') && key !== '#engine');
  return named.length === 1 ? named[0]?.slice(1) : undefined;
}

function specOf(
  entry: Entry,
  driver: Driver,
  settings: Settings,
  around: Around,
  found: Mistake[],
): Omit<WantedSpec, 'name'> | undefined {
  const options = driver.options.safeParse(valuesIn(settings, driver.name));
  if (!options.success) found.push(...incomplete(entry, driver.name, settings, options.error.issues));
  const engine = engineOf(entry, settings, around, found);
  const life = lifeOptions.parse({ ttl: settings.get('ttl')?.value, idleStop: settings.get('idleStop')?.value });
  const hasLife = life.ttl !== undefined || life.idleStop !== undefined;
  if (hasLife && !driver.ends) found.push(endless(driver, settings));
  if (!options.success || !engine) return undefined;
  return {
    driver: driver.name,
    options: options.data,
    engine,
    profiles: (settings.get('profiles')?.value as readonly string[] | undefined) ?? defaultProfiles,
    ...(hasLife ? { life } : {}),
  };
}

/** Nothing of ours runs on its host that could do it. */
function endless({ name }: Driver, settings: Settings): Mistake {
  const key = settings.has('ttl') ? 'ttl' : 'idleStop';
  const setting = settings.get(key);
  if (!setting) throw new Error('a machine without a life was found to have one');
  return {
    at: placeOf(setting),
    says: `a machine of the driver ${name} can't end or stop by itself, so it has no ${key}`,
  };
}

type Issue = { readonly path: readonly PropertyKey[]; readonly message: string };

/** What no single value is to blame for: options that are missing. */
function incomplete(entry: Entry, section: string, settings: Settings, issues: readonly Issue[]): readonly Mistake[] {
  return issues.map(({ path: [key], message }) => {
    const setting = settings.get(`${section}.${String(key)}`);
    const name = nameOf(['machines', entry.name, section, String(key)]);
    return setting
      ? { at: placeOf(setting), says: `${name} must be ${message}` }
      : { at: placeOf(settings.get(`#${section}`) ?? entry.here), says: `${name} is missing` };
  });
}

function engineOf(entry: Entry, settings: Settings, { env }: Around, found: Mistake[]): EngineSpec | undefined {
  const variables = settings.get('engine.env');
  const values = {
    ...valuesIn(settings, 'engine'),
    ...(variables ? { env: filledIn(variables, env, found) } : {}),
  };
  const engine = engineOptions.safeParse(withSource(values));
  if (engine.success) return settledSource(engine.data);
  found.push(...incomplete(entry, 'engine', settings, engine.error.issues));
  return undefined;
}

/** `${NAME}` is the environment's; `$${` is what it looks like without its first sign. */
function filledIn(variables: Setting, env: Around['env'], found: Mistake[]): readonly string[] {
  return (variables.value as readonly string[]).map((text, index) =>
    text.replaceAll(/\$?\$\{([^}]*)\}/g, (whole, name: string) => {
      if (whole.startsWith('$$')) return whole.slice(1);
      const value = /^\w+$/.test(name) ? env[name] : undefined;
      if (value !== undefined) return value;
      const at = variables.source.parsed.place([...variables.path, index]);
      found.push({ at, says: `the environment has no variable ${name}, which engine.env takes its value from` });
      return '';
    }),
  );
}

/** Names that two entries make, and more machines than anybody means. */
function crowds(made: readonly { readonly entry: Entry; readonly wanted: readonly Wanted[] }[]): readonly Mistake[] {
  const owner = new Map<string, string>();
  const mistakes: Mistake[] = [];
  for (const { entry, wanted } of made) {
    const twice = wanted.find(({ spec }) => owner.has(spec.name))?.spec.name;
    if (twice !== undefined)
      mistakes.push({
        at: entry.here.source.parsed.keyPlace(entry.here.path),
        says: `machines.${entry.name} makes a machine named ${twice}, and so does machines.${owner.get(twice)}`,
      });
    for (const { spec } of wanted) owner.set(spec.name, entry.name);
  }
  const last = made.at(-1)?.entry;
  if (owner.size <= MOST_MACHINES || !last) return mistakes;
  const at = last.here.source.parsed.place(['machines']);
  return [...mistakes, { at, says: `machines are ${owner.size} in all, and at most ${MOST_MACHINES}` }];
}

import type { FleetSource } from './read-sources.ts';
import { type FileProblem, unknownWordMessage } from './file-problems.ts';
import {
  NO_SETTINGS,
  mergeSettings,
  type DriverSections,
  type FleetSetting,
  type FleetSettings,
  settingsAt,
} from './settings.ts';

/** Each template's own settings, and a cache of templates merged with everything that they extend. */
export type FleetTemplates = {
  readonly own: ReadonlyMap<string, FleetSettings>;
  readonly resolved: Map<string, FleetSettings>;
};

export function collectTemplates(sources: readonly FleetSource[], known: DriverSections, home: string): FleetTemplates {
  const own = new Map<string, FleetSettings>();
  for (const source of sources) {
    const { templates } = source.parsed.value as { readonly templates?: Readonly<Record<string, unknown>> | null };
    for (const name of Object.keys(templates ?? {}))
      own.set(name, mergeSettings(own.get(name) ?? NO_SETTINGS, settingsAt(source, ['templates', name], known, home)));
  }
  return { own, resolved: new Map() };
}

/** Returns everything that these settings extend, merged, without the key `extends`. */
export function resolveExtends(
  settings: FleetSettings,
  templates: FleetTemplates,
  found: FileProblem[],
  trail: readonly string[] = [],
): FleetSettings {
  const setting = settings.get('extends');
  if (!setting) return NO_SETTINGS;
  const names = typeof setting.value === 'string' ? [setting.value] : (setting.value as readonly string[]);
  return mergeSettings(
    ...names.map((name, index) => resolveTemplate(name, extendsItem(setting, index), templates, found, trail)),
  );
}

function extendsItem(setting: FleetSetting, index: number): FleetSetting {
  return typeof setting.value === 'string' ? setting : { ...setting, path: [...setting.path, index] };
}

function resolveTemplate(
  name: string,
  { source, path }: FleetSetting,
  templates: FleetTemplates,
  found: FileProblem[],
  trail: readonly string[],
): FleetSettings {
  // Resolved once: a chain of templates that each extend the previous one twice would otherwise take exponential time.
  const cached = templates.resolved.get(name);
  if (cached) return cached;
  const own = templates.own.get(name);
  const at = source.parsed.positionOf(path);
  if (!own) found.push({ at, message: unknownWordMessage('template', name, [...templates.own.keys()]) });
  else if (trail.includes(name))
    found.push({
      at,
      message: `templates extend each other in a cycle: ${[...trail.slice(trail.indexOf(name)), name].join(' → ')}`,
    });
  if (!own || trail.includes(name)) return NO_SETTINGS;
  const merged = mergeSettings(resolveExtends(own, templates, found, [...trail, name]), own);
  const resolved = new Map([...merged].filter(([key]) => key !== 'extends'));
  templates.resolved.set(name, resolved);
  return resolved;
}

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

/** What each template says itself, and what it is with all that it extends, once that was asked for. */
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

/** All that these settings extend, merged; without `extends` itself. */
export function resolveExtends(
  settings: FleetSettings,
  templates: FleetTemplates,
  found: FileProblem[],
  trail: readonly string[] = [],
): FleetSettings {
  const said = settings.get('extends');
  if (!said) return NO_SETTINGS;
  const names = typeof said.value === 'string' ? [said.value] : (said.value as readonly string[]);
  return mergeSettings(
    ...names.map((name, index) => resolveTemplate(name, extendsItem(said, index), templates, found, trail)),
  );
}

function extendsItem(said: FleetSetting, index: number): FleetSetting {
  return typeof said.value === 'string' ? said : { ...said, path: [...said.path, index] };
}

function resolveTemplate(
  name: string,
  { source, path }: FleetSetting,
  templates: FleetTemplates,
  found: FileProblem[],
  trail: readonly string[],
): FleetSettings {
  // Made once, or templates that each extend the one before twice would take for ever.
  const made = templates.resolved.get(name);
  if (made) return made;
  const own = templates.own.get(name);
  const at = source.parsed.positionOf(path);
  if (!own) found.push({ at, message: unknownWordMessage(name, 'template', [...templates.own.keys()]) });
  else if (trail.includes(name))
    found.push({
      at,
      message: `templates extend each other in a circle: ${[...trail.slice(trail.indexOf(name)), name].join(' → ')}`,
    });
  if (!own || trail.includes(name)) return NO_SETTINGS;
  const whole = mergeSettings(resolveExtends(own, templates, found, [...trail, name]), own);
  const plain = new Map([...whole].filter(([key]) => key !== 'extends'));
  templates.resolved.set(name, plain);
  return plain;
}

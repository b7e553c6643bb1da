import type { Source } from './files.ts';
import { type Mistake, noSuch } from './mistakes.ts';
import { NOTHING, over, type Sections, type Setting, type Settings, settingsAt } from './settings.ts';

/** What each template says itself, and what it is with all that it extends, once that was asked for. */
export type Templates = { readonly own: ReadonlyMap<string, Settings>; readonly whole: Map<string, Settings> };

export function templatesOf(sources: readonly Source[], known: Sections, home: string): Templates {
  const own = new Map<string, Settings>();
  for (const source of sources) {
    const { templates } = source.parsed.value as { readonly templates?: Readonly<Record<string, unknown>> | null };
    for (const name of Object.keys(templates ?? {}))
      own.set(name, over(own.get(name) ?? NOTHING, settingsAt(source, ['templates', name], known, home)));
  }
  return { own, whole: new Map() };
}

/** All that these settings extend, merged; without `extends` itself. */
export function extended(
  settings: Settings,
  templates: Templates,
  found: Mistake[],
  trail: readonly string[] = [],
): Settings {
  const said = settings.get('extends');
  if (!said) return NOTHING;
  const names = typeof said.value === 'string' ? [said.value] : (said.value as readonly string[]);
  return over(...names.map((name, index) => wholeOf(name, placed(said, index), templates, found, trail)));
}

function placed(said: Setting, index: number): Setting {
  return typeof said.value === 'string' ? said : { ...said, path: [...said.path, index] };
}

function wholeOf(
  name: string,
  { source, path }: Setting,
  templates: Templates,
  found: Mistake[],
  trail: readonly string[],
): Settings {
  // Made once, or templates that each extend the one before twice would take for ever.
  const made = templates.whole.get(name);
  if (made) return made;
  const own = templates.own.get(name);
  const at = source.parsed.place(path);
  if (!own) found.push({ at, says: noSuch(name, 'template', [...templates.own.keys()]) });
  else if (trail.includes(name))
    found.push({
      at,
      says: `templates extend each other in a circle: ${[...trail.slice(trail.indexOf(name)), name].join(' → ')}`,
    });
  if (!own || trail.includes(name)) return NOTHING;
  const whole = over(extended(own, templates, found, [...trail, name]), own);
  const plain = new Map([...whole].filter(([key]) => key !== 'extends'));
  templates.whole.set(name, plain);
  return plain;
}

import { join, resolve } from 'node:path';
import type { Driver } from '../drivers/contract.ts';
import { drivers } from '../drivers/registry.ts';
import { isImagePath } from '../images/source.ts';
import { describe } from '../machine/options.ts';
import { valueAt } from './check.ts';
import type { Source } from './files.ts';
import type { Place } from './mistakes.ts';
import type { Path } from './yaml.ts';

/** A value and where it was written, which is looked up only when something has to be said about it. */
export type Setting = { readonly value: unknown; readonly source: Source; readonly path: Path };

/**
 * What a machine, a template or the defaults say, flat: `ttl`, `engine.label`, `ec2.rootSize`, and `#ec2` where that section is
 * there at all. Later settings stand above earlier ones key by key: maps merge, lists and single values replace.
 */
export type Settings = ReadonlyMap<string, Setting>;

export const NOTHING: Settings = new Map();

export function over(...layers: readonly Settings[]): Settings {
  return new Map(layers.flatMap((layer) => [...layer]));
}

export function placeOf({ source, path }: Setting): Place {
  return source.parsed.place(path);
}

/** Drivers by all of their names, and which of their options are files of this computer. */
export type Sections = ReadonlyMap<string, { readonly driver: Driver; readonly files: ReadonlySet<string> }>;

export function sections(): Sections {
  return new Map(
    drivers.flatMap((driver) => {
      const infos = describe(driver.options, driver.name);
      const files = new Set(infos.filter(({ value }) => value === 'file').map(({ key }) => key));
      return [driver.name, ...(driver.also ?? [])].map((name) => [name, { driver, files }] as const);
    }),
  );
}

/** The settings of the map at this path; `home` is what `~` stands for. */
export function settingsAt(source: Source, path: Path, known: Sections, home: string): Settings {
  const found = new Map<string, Setting>();
  const entry = valueAt(source.parsed.value, path) as Readonly<Record<string, unknown>> | null | undefined;
  for (const [key, value] of Object.entries(entry ?? {})) {
    const section = known.get(key);
    if (!section && key !== 'engine') {
      found.set(key, { value, source, path: [...path, key] });
      continue;
    }
    const name = section?.driver.name ?? key;
    found.set(`#${name}`, { value: name, source, path: [...path, key] });
    for (const [option, given] of Object.entries((value ?? {}) as Readonly<Record<string, unknown>>)) {
      const isFile = section?.files.has(option) === true || (option === 'image' && isImage(given));
      found.set(`${name}.${option}`, {
        value: isFile && typeof given === 'string' ? absolute(given, source.folder, home) : given,
        source,
        path: [...path, key, option],
      });
    }
  }
  return found;
}

function isImage(value: unknown): boolean {
  return typeof value === 'string' && isImagePath(value);
}

/** A path is meant as seen from the file that it stands in. */
function absolute(path: string, folder: string, home: string): string {
  return path.startsWith('~/') ? join(home, path.slice(2)) : resolve(folder, path);
}

/** The values of a section, without its name. */
export function valuesIn(settings: Settings, section: string): Record<string, unknown> {
  const start = `${section}.`;
  return Object.fromEntries(
    [...settings].filter(([key]) => key.startsWith(start)).map(([key, { value }]) => [key.slice(start.length), value]),
  );
}

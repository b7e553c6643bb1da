import { resolve } from 'node:path';
import { expandHome } from '../computer/expand-home.ts';
import type { DriverManifest } from '../drivers/contract.ts';
import { drivers } from '../drivers/registry.ts';
import { isImagePath } from '../images/image-reference.ts';
import { describeOptions } from '../machine/options.ts';
import { valueAt } from './check-file.ts';
import type { FleetSource } from './read-sources.ts';
import type { FilePosition } from './file-problems.ts';
import type { YamlPath } from './yaml.ts';

/** A value and where it was written. The position is looked up only if a message needs it. */
export type FleetSetting = { readonly value: unknown; readonly source: FleetSource; readonly path: YamlPath };

/**
 * The settings of a machine, a template or the defaults by flat keys: `ttl`, `engine.label`, `ec2.rootSize`, and `#ec2`
 * if that section exists at all. Later settings override earlier ones key by key: maps merge, lists and single values
 * are replaced.
 */
export type FleetSettings = ReadonlyMap<string, FleetSetting>;

export const NO_SETTINGS: FleetSettings = new Map();

export function mergeSettings(...layers: readonly FleetSettings[]): FleetSettings {
  return new Map(layers.flatMap((layer) => [...layer]));
}

export function positionOfSetting({ source, path }: FleetSetting): FilePosition {
  return source.parsed.positionOf(path);
}

/** Drivers by name and alias, with the options that are paths of files on this computer. */
export type DriverSections = ReadonlyMap<
  string,
  { readonly driver: DriverManifest; readonly files: ReadonlySet<string> }
>;

export function listDriverSections(): DriverSections {
  return new Map(
    drivers.flatMap((driver) => {
      const specs = describeOptions(driver.options, driver.name);
      const files = new Set(specs.filter(({ valueName }) => valueName === 'file').map(({ key }) => key));
      return [driver.name, ...(driver.aliases ?? [])].map((name) => [name, { driver, files }] as const);
    }),
  );
}

/** Returns the settings of the map at this path. `home` replaces `~` in paths. */
export function settingsAt(source: FleetSource, path: YamlPath, known: DriverSections, home: string): FleetSettings {
  const found = new Map<string, FleetSetting>();
  const entry = valueAt(source.parsed.value, path) as Readonly<Record<string, unknown>> | null | undefined;
  for (const [key, value] of Object.entries(entry ?? {})) {
    const section = known.get(key);
    if (!section && key !== 'engine') {
      found.set(key, { value, source, path: [...path, key] });
      continue;
    }
    const name = section?.driver.name ?? key;
    found.set(`#${name}`, { value: name, source, path: [...path, key] });
    for (const [option, optionValue] of Object.entries((value ?? {}) as Readonly<Record<string, unknown>>)) {
      const isFile = section?.files.has(option) === true || (option === 'image' && isLocalImage(optionValue));
      found.set(`${name}.${option}`, {
        value:
          isFile && typeof optionValue === 'string' ? toAbsolutePath(optionValue, source.folder, home) : optionValue,
        source,
        path: [...path, key, option],
      });
    }
  }
  return found;
}

function isLocalImage(value: unknown): boolean {
  return typeof value === 'string' && isImagePath(value);
}

/** Resolves a path relative to the folder of the file that contains it. */
function toAbsolutePath(path: string, folder: string, home: string): string {
  return resolve(folder, expandHome(path, home));
}

/** Returns the values of a section by option, without the section's name. */
export function valuesIn(settings: FleetSettings, section: string): Record<string, unknown> {
  const start = `${section}.`;
  return Object.fromEntries(
    [...settings].filter(([key]) => key.startsWith(start)).map(([key, { value }]) => [key.slice(start.length), value]),
  );
}

import { readFile, realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { SlipwayError, systemCode } from '../errors.ts';
import { type Wrong, wrongsIn } from './check.ts';
import { type Mistake, refusal } from './mistakes.ts';
import { fileSchema } from './schema.ts';
import { type Parsed, parseYaml } from './yaml.ts';

/** One file that was read: what stands in it, where, and what is wrong with it. */
export type Source = {
  /** As the user wrote it, for sentences. */
  readonly shown: string;
  /** Absolute: what is relative in the file is meant as seen from there. */
  readonly folder: string;
  readonly parsed: Parsed;
  readonly wrongs: readonly Wrong[];
};

/** No file that people write is larger; a disk image given by mistake is. */
const MOST_BYTES = 4 * 1024 * 1024;

/** The file and those that it goes on from, the farthest first. */
export async function readSources(
  path: string,
): Promise<{ readonly sources: readonly Source[]; readonly place: string }> {
  const text = await textOf(resolve(path), path);
  const place = await realpath(resolve(path));
  const sources: Source[] = [];
  const schema = fileSchema();
  const known = new Set<string>();
  async function take(content: string, shown: string, real: string, trail: readonly string[]): Promise<void> {
    if (known.has(real)) return;
    known.add(real);
    const parsed = parseYaml(content, shown);
    const wrongs = [...wrongsIn(parsed, schema)];
    for (const base of basesOf(parsed, wrongs)) {
      const wrong = await follow(base, shown, real, [...trail, real]);
      if (wrong !== undefined) wrongs.push({ ...wrong, path: ['extends'] });
    }
    sources.push({ shown, folder: dirname(real), parsed, wrongs });
  }
  async function follow(
    base: Base,
    shown: string,
    real: string,
    trail: readonly string[],
  ): Promise<Mistake | undefined> {
    const asShown = isAbsolute(base.path) ? base.path : join(dirname(shown), base.path);
    const at = resolve(dirname(real), base.path);
    try {
      const content = await textOf(at, asShown);
      const found = await realpath(at);
      if (trail.includes(found))
        return { at: base.at, says: `files extend each other in a circle: ${circle(trail, found)}` };
      await take(content, asShown, found, trail);
      return undefined;
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      return { at: base.at, says: error.message };
    }
  }
  await take(text, path, place, []);
  return { sources, place };
}

function circle(trail: readonly string[], back: string): string {
  return [...trail.slice(trail.indexOf(back)), back].join(' → ');
}

type Base = { readonly path: string; readonly at: Mistake['at'] };

function basesOf(parsed: Parsed, wrongs: readonly Wrong[]): readonly Base[] {
  if (wrongs.some(({ path }) => path.length === 0 || path[0] === 'extends')) return [];
  const { extends: given = [] } = parsed.value as { readonly extends?: string | readonly string[] };
  if (typeof given === 'string') return [{ path: given, at: parsed.place(['extends']) }];
  return given.map((path, index) => ({ path, at: parsed.place(['extends', index]) }));
}

/** The text of a file, or the sentence why there is none. */
async function textOf(path: string, shown: string): Promise<string> {
  try {
    const about = await stat(path);
    if (about.isDirectory())
      throw unreadable(shown, 'is a folder', `Name the file in it: -f ${join(shown, 'machines.yaml')}`);
    if (!about.isFile() && !about.isFIFO()) throw unreadable(shown, 'is no file');
    if (about.size > MOST_BYTES)
      throw unreadable(shown, `has ${about.size} bytes, and a file of machines has ${MOST_BYTES} at most`);
    const bytes = await readFile(path);
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof SlipwayError) throw error;
    if (error instanceof TypeError) throw unreadable(shown, 'is not a text in UTF-8', undefined, error);
    const code = systemCode(error);
    if (code === 'ENOENT')
      throw unreadable(
        shown,
        'is not there',
        'Make it, or name another file: -f FILE; how: docs/machines-yaml.md',
        error,
      );
    if (code === undefined) throw error;
    throw unreadable(shown, `can't be read (${code})`, undefined, error);
  }
}

function unreadable(shown: string, why: string, hint?: string, cause?: unknown): SlipwayError {
  return new SlipwayError('USAGE', `${shown} ${why}`, {
    hint: hint ?? 'Name a file that describes machines: -f FILE',
    cause,
  });
}

/** All files' mistakes at once, and those that only show when the machines are made of them. */
export function refuseWrong(sources: readonly Source[], more: readonly Mistake[]): void {
  const all = [...sources.flatMap(({ wrongs }) => wrongs), ...more];
  if (all.length > 0) throw refusal(sources.at(-1)?.shown ?? '', all);
}

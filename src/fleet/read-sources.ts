import { readFile, realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { SlipwayError, systemCode } from '../errors.ts';
import { type PathProblem, problemsIn } from './check-file.ts';
import { type FileProblem, fileProblemsError } from './file-problems.ts';
import { fleetFileSchema } from './file-schema.ts';
import { type ParsedYaml, parseYaml } from './yaml.ts';

/** One file that was read: what stands in it, where, and what is wrong with it. */
export type FleetSource = {
  /** As the user wrote it, for sentences. */
  readonly displayPath: string;
  /** Absolute: what is relative in the file is meant as seen from there. */
  readonly folder: string;
  readonly parsed: ParsedYaml;
  readonly problems: readonly PathProblem[];
};

/** No file that people write is larger; a disk image given by mistake is. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** The file and those that it goes on from, the farthest first. */
export async function readSources(
  path: string,
): Promise<{ readonly sources: readonly FleetSource[]; readonly place: string }> {
  const text = await readText(resolve(path), path);
  const place = await realpath(resolve(path));
  const sources: FleetSource[] = [];
  const schema = fleetFileSchema();
  const known = new Set<string>();
  async function take(content: string, displayPath: string, real: string, trail: readonly string[]): Promise<void> {
    if (known.has(real)) return;
    known.add(real);
    const parsed = parseYaml(content, displayPath);
    const problems = [...problemsIn(parsed, schema)];
    for (const base of basesOf(parsed, problems)) {
      const wrong = await follow(base, displayPath, real, [...trail, real]);
      if (wrong !== undefined) problems.push({ ...wrong, path: ['extends'] });
    }
    sources.push({ displayPath, folder: dirname(real), parsed, problems });
  }
  async function follow(
    base: BaseFile,
    shown: string,
    real: string,
    trail: readonly string[],
  ): Promise<FileProblem | undefined> {
    const asShown = isAbsolute(base.path) ? base.path : join(dirname(shown), base.path);
    const at = resolve(dirname(real), base.path);
    try {
      const content = await readText(at, asShown);
      const found = await realpath(at);
      if (trail.includes(found))
        return { at: base.at, message: `files extend each other in a circle: ${formatCycle(trail, found)}` };
      await take(content, asShown, found, trail);
      return undefined;
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      return { at: base.at, message: error.message };
    }
  }
  await take(text, path, place, []);
  return { sources, place };
}

function formatCycle(trail: readonly string[], back: string): string {
  return [...trail.slice(trail.indexOf(back)), back].join(' → ');
}

type BaseFile = { readonly path: string; readonly at: FileProblem['at'] };

function basesOf(parsed: ParsedYaml, wrongs: readonly PathProblem[]): readonly BaseFile[] {
  if (wrongs.some(({ path }) => path.length === 0 || path[0] === 'extends')) return [];
  const { extends: given = [] } = parsed.value as { readonly extends?: string | readonly string[] };
  if (typeof given === 'string') return [{ path: given, at: parsed.positionOf(['extends']) }];
  return given.map((path, index) => ({ path, at: parsed.positionOf(['extends', index]) }));
}

/** The text of a file, or the sentence why there is none. */
async function readText(path: string, shown: string): Promise<string> {
  try {
    const about = await stat(path);
    if (about.isDirectory())
      throw unreadableFileError(shown, 'is a folder', `Name the file in it: -f ${join(shown, 'machines.yaml')}`);
    if (!about.isFile() && !about.isFIFO()) throw unreadableFileError(shown, 'is no file');
    if (about.size > MAX_FILE_BYTES)
      throw unreadableFileError(shown, `has ${about.size} bytes, and a file of machines has ${MAX_FILE_BYTES} at most`);
    const bytes = await readFile(path);
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof SlipwayError) throw error;
    if (error instanceof TypeError) throw unreadableFileError(shown, 'is not a text in UTF-8', undefined, error);
    const code = systemCode(error);
    if (code === 'ENOENT')
      throw unreadableFileError(
        shown,
        'is not there',
        'Make it, or name another file: -f FILE; how: docs/machines-yaml.md',
        error,
      );
    if (code === undefined) throw error;
    throw unreadableFileError(shown, `can't be read (${code})`, undefined, error);
  }
}

function unreadableFileError(shown: string, why: string, hint?: string, cause?: unknown): SlipwayError {
  return new SlipwayError('USAGE', `${shown} ${why}`, {
    hint: hint ?? 'Name a file that describes machines: -f FILE',
    cause,
  });
}

/** All files' mistakes at once, and those that only show when the machines are made of them. */
export function requireNoProblems(sources: readonly FleetSource[], more: readonly FileProblem[]): void {
  const all = [...sources.flatMap(({ problems }) => problems), ...more];
  if (all.length > 0) throw fileProblemsError(sources.at(-1)?.displayPath ?? '', all);
}

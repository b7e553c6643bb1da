import { readFile, realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { SlipwayError, systemCode } from '../errors.ts';
import { type PathProblem, problemsIn } from './check-file.ts';
import { type FileProblem, fileProblemsError } from './file-problems.ts';
import { fleetFileSchema } from './file-schema.ts';
import { type ParsedYaml, parseYaml } from './yaml.ts';

/** One file that was read: its content with positions, and its problems. */
export type FleetSource = {
  /** The path as the user wrote it, for messages. */
  readonly displayPath: string;
  /** The file's folder, absolute: paths in the file are relative to it. */
  readonly folder: string;
  readonly parsed: ParsedYaml;
  readonly problems: readonly PathProblem[];
};

/** Larger than any file that people write, and smaller than a disk image given by mistake. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** Reads a file and all files that it extends, base files first. `realPath` is the file's own, without links. */
export async function readSources(
  path: string,
): Promise<{ readonly sources: readonly FleetSource[]; readonly realPath: string }> {
  const text = await readText(resolve(path), path);
  const realPath = await realpath(resolve(path));
  const sources: FleetSource[] = [];
  const schema = fleetFileSchema();
  const visited = new Set<string>();
  async function addSource(
    content: string,
    displayPath: string,
    real: string,
    trail: readonly string[],
  ): Promise<void> {
    if (visited.has(real)) return;
    visited.add(real);
    const parsed = parseYaml(content, displayPath);
    const problems = [...problemsIn(parsed, schema)];
    for (const base of basesOf(parsed, problems)) {
      const problem = await addBase(base, displayPath, real, [...trail, real]);
      if (problem !== undefined) problems.push({ ...problem, path: ['extends'] });
    }
    sources.push({ displayPath, folder: dirname(real), parsed, problems });
  }
  async function addBase(
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
        return { at: base.at, message: `files extend each other in a cycle: ${formatCycle(trail, found)}` };
      await addSource(content, asShown, found, trail);
      return undefined;
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      return { at: base.at, message: error.message };
    }
  }
  await addSource(text, path, realPath, []);
  return { sources, realPath };
}

function formatCycle(trail: readonly string[], back: string): string {
  return [...trail.slice(trail.indexOf(back)), back].join(' → ');
}

type BaseFile = { readonly path: string; readonly at: FileProblem['at'] };

function basesOf(parsed: ParsedYaml, problems: readonly PathProblem[]): readonly BaseFile[] {
  if (problems.some(({ path }) => path.length === 0 || path[0] === 'extends')) return [];
  const { extends: bases = [] } = parsed.value as { readonly extends?: string | readonly string[] };
  if (typeof bases === 'string') return [{ path: bases, at: parsed.positionOf(['extends']) }];
  return bases.map((path, index) => ({ path, at: parsed.positionOf(['extends', index]) }));
}

/** Reads the text of a file. Throws USAGE with the reason if it can't be read. */
async function readText(path: string, shown: string): Promise<string> {
  try {
    const state = await stat(path);
    if (state.isDirectory())
      throw unreadableFileError(shown, 'is a folder', `Name the file in it: -f ${join(shown, 'machines.yaml')}`);
    if (!state.isFile() && !state.isFIFO()) throw unreadableFileError(shown, 'is not a file');
    if (state.size > MAX_FILE_BYTES)
      throw unreadableFileError(shown, `is too large: it has ${state.size} bytes, and the limit is ${MAX_FILE_BYTES}`);
    const bytes = await readFile(path);
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof SlipwayError) throw error;
    if (error instanceof TypeError) throw unreadableFileError(shown, 'is not UTF-8 text', undefined, error);
    const code = systemCode(error);
    if (code === 'ENOENT')
      throw unreadableFileError(
        shown,
        'does not exist',
        'Create it (see docs/machines-yaml.md), or name another file: -f FILE',
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

/** Throws one error with the problems of all files, and with those found when they were combined. */
export function requireNoProblems(sources: readonly FleetSource[], more: readonly FileProblem[]): void {
  const all = [...sources.flatMap(({ problems }) => problems), ...more];
  if (all.length > 0) throw fileProblemsError(sources.at(-1)?.displayPath ?? '', all);
}

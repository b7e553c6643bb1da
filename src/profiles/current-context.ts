import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileChange } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { ClientPaths } from './profile.ts';

type DockerConfig = { readonly currentContext?: string } & Readonly<Record<string, unknown>>;

/** The context that the docker CLI uses when it is told nothing else; undefined is its own `default`. */
export async function readCurrentContextName(places: ClientPaths): Promise<string | undefined> {
  const { config } = await readDockerConfig(places);
  return config.currentContext === 'default' ? undefined : config.currentContext;
}

/** The change of the docker CLI's config.json that makes `name` current; all else in it stays. */
export async function planContextSwitch(name: string | undefined, places: ClientPaths): Promise<readonly FileChange[]> {
  const { config, mode } = await readDockerConfig(places);
  const { currentContext: present, ...rest } = config;
  if ((present === 'default' ? undefined : present) === name) return [];
  const next = name === undefined ? rest : { ...rest, currentContext: name };
  return [{ do: 'write', path: configPath(places), content: `${JSON.stringify(next, null, '\t')}\n`, mode }];
}

function configPath({ dockerConfig }: ClientPaths): string {
  return join(dockerConfig, 'config.json');
}

async function readDockerConfig(
  places: ClientPaths,
): Promise<{ readonly config: DockerConfig; readonly mode: number }> {
  const path = configPath(places);
  try {
    const [text, { mode }] = await Promise.all([readFile(path, 'utf8'), stat(path)]);
    const config: unknown = text.trim() === '' ? {} : JSON.parse(text);
    if (typeof config !== 'object' || config === null) throw new SyntaxError('it holds no object');
    return { config: config as DockerConfig, mode: mode & 0o777 };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { config: {}, mode: 0o600 };
    if (error instanceof SyntaxError) {
      throw new SlipwayError(
        'LOCAL_FILES',
        `${path} is not JSON, so the docker CLI can't use it either: ${error.message}`,
        {
          hint: 'Mend or move it, then run this again',
          cause: error,
        },
      );
    }
    throw error;
  }
}

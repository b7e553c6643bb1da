import { join } from 'node:path';
import { readUserFile, type FileChange } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { ClientPaths } from './profile.ts';

type DockerConfig = { readonly currentContext?: string } & Readonly<Record<string, unknown>>;

/** Returns the context that the docker CLI uses without `--context`; undefined for `default`. */
export async function readCurrentContextName(paths: ClientPaths): Promise<string | undefined> {
  const { config } = await readDockerConfig(paths);
  return config.currentContext === 'default' ? undefined : config.currentContext;
}

/** Returns the change of the docker CLI's config.json that makes `name` the current context; other settings stay. */
export async function planContextSwitch(name: string | undefined, paths: ClientPaths): Promise<readonly FileChange[]> {
  const { config, mode } = await readDockerConfig(paths);
  const { currentContext, ...rest } = config;
  if ((currentContext === 'default' ? undefined : currentContext) === name) return [];
  const next = name === undefined ? rest : { ...rest, currentContext: name };
  return [{ do: 'write', path: configPath(paths), content: `${JSON.stringify(next, null, '\t')}\n`, mode }];
}

function configPath({ dockerConfig }: ClientPaths): string {
  return join(dockerConfig, 'config.json');
}

async function readDockerConfig(paths: ClientPaths): Promise<{ readonly config: DockerConfig; readonly mode: number }> {
  const path = configPath(paths);
  try {
    const { text, mode } = await readUserFile(path);
    const config: unknown = text.trim() === '' ? {} : JSON.parse(text);
    if (!isDockerConfig(config)) throw new SyntaxError('it is not an object with a currentContext that is a string');
    return { config, mode };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { config: {}, mode: 0o600 };
    if (error instanceof SyntaxError) {
      throw new SlipwayError(
        'LOCAL_FILES',
        `${path} is not valid JSON, so the docker CLI can't use it either: ${error.message}`,
        {
          hint: 'Fix the file or move it away, then run the same command again',
          cause: error,
        },
      );
    }
    throw error;
  }
}

function isDockerConfig(value: unknown): value is DockerConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return !('currentContext' in value) || typeof value.currentContext === 'string';
}

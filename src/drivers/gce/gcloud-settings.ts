import { join } from 'node:path';
import type { Computer } from '../../computer/computer.ts';
import { readUserFileIfExists } from '../../computer/files.ts';

export function gcloudConfigDir({ env, platform }: Pick<Computer, 'env' | 'platform'>): string {
  if (env.CLOUDSDK_CONFIG) return env.CLOUDSDK_CONFIG;
  return platform === 'win32' ? join(env.APPDATA ?? '', 'gcloud') : join(env.HOME ?? '', '.config', 'gcloud');
}

/**
 * Returns a property as gcloud reads it: from its variable (`CLOUDSDK_COMPUTE_ZONE`), or else from the active
 * configuration, which `gcloud config set compute/zone` writes.
 */
export async function readGcloudSetting(
  computer: Pick<Computer, 'env' | 'platform'>,
  section: string,
  property: string,
): Promise<string | undefined> {
  const fromEnv = computer.env[`CLOUDSDK_${section}_${property}`.toUpperCase()];
  if (fromEnv) return fromEnv;
  const folder = gcloudConfigDir(computer);
  const active =
    computer.env.CLOUDSDK_ACTIVE_CONFIG_NAME ||
    (await readTextOrEmpty(join(folder, 'active_config'))).trim() ||
    'default';
  const text = await readTextOrEmpty(join(folder, 'configurations', `config_${active}`));
  return readIniValue(text, section, property);
}

/** Reads one value of an INI file: `zone = europe-west3-a` below `[compute]`. */
function readIniValue(text: string, section: string, property: string): string | undefined {
  let current = '';
  let value: string | undefined;
  for (const line of text.split(/\r?\n/)) {
    const [, name] = /^\s*\[([^\]]+)\]/.exec(line) ?? [];
    if (name !== undefined) current = name.trim();
    const [, key, content] = /^\s*([\w-]+)\s*[=:]\s*(.*?)\s*$/.exec(line) ?? [];
    if (current === section && key === property && content) value = content;
  }
  return value;
}

/** Returns an empty text for a file that does not exist. */
async function readTextOrEmpty(file: string): Promise<string> {
  return (await readUserFileIfExists(file)) ?? '';
}

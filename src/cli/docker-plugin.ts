import { lstat, mkdir, readFile, readlink, realpath, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SlipwayError, systemCode } from '../errors.ts';
import { getDockerClientProgram, findProgram } from '../computer/programs.ts';
import type { Cli } from './command.ts';

/** What `docker machine` is here. `path`: where the docker CLI finds it, or where a link would make it found. */
export type DockerMachinePlugin =
  | { readonly state: 'ours'; readonly path: string; readonly program: string }
  | { readonly state: 'foreign'; readonly path: string }
  /** `dangling`: a link of ours whose program has moved away. */
  | { readonly state: 'absent' | 'dangling'; readonly path: string; readonly program: string };

/** By its name it is the plugin called `machine`. */
const PLUGIN_NAME = 'docker-machine';
const PLUGIN_SCRIPT = join('dist', 'docker-machine.js');
/** Where the docker CLI looks after the user's own folder. */
const SYSTEM_PLUGIN_FOLDERS = ['/usr/local/lib', '/usr/local/libexec', '/usr/lib', '/usr/libexec'].map((folder) =>
  join(folder, 'docker', 'cli-plugins'),
);

/** Undefined where there is no docker CLI, or none that takes a link for a program. */
export async function findPlugin({
  packageFile,
  world: { computer, clientPaths },
}: Cli): Promise<DockerMachinePlugin | undefined> {
  if (computer.platform === 'win32') return undefined;
  if ((await findProgram(await getDockerClientProgram(computer), computer)) === undefined) return undefined;
  const program = await realpath(join(dirname(packageFile), PLUGIN_SCRIPT)).catch(() => undefined);
  if (program === undefined) return undefined;
  const own = join(clientPaths.dockerConfig, 'cli-plugins', PLUGIN_NAME);
  for (const path of [own, ...SYSTEM_PLUGIN_FOLDERS.map((folder) => join(folder, PLUGIN_NAME))]) {
    if (!(await lstat(path).catch(() => undefined))) continue;
    const end = await realpath(path).catch(() => undefined);
    if (end !== undefined) {
      return (await isSlipwayScript(end)) ? { state: 'ours', path, program: end } : { state: 'foreign', path };
    }
    const wasOurs = (await readlink(path).catch(() => '')).endsWith(PLUGIN_SCRIPT);
    if (!wasOurs) return { state: 'foreign', path };
    return { state: path === own ? 'dangling' : 'absent', path: own, program };
  }
  return { state: 'absent', path: own, program };
}

/** Whichever installation of Slipway it is of. */
async function isSlipwayScript(file: string): Promise<boolean> {
  if (!file.endsWith(PLUGIN_SCRIPT)) return false;
  const text = await readFile(join(dirname(dirname(file)), 'package.json'), 'utf8').catch(() => '{}');
  return /"name":\s*"slipway"/.test(text);
}

/** Nothing that is there is overwritten, but a link of ours that leads nowhere. */
export async function linkPlugin({
  state,
  path,
  program,
}: Extract<DockerMachinePlugin, { readonly state: 'absent' | 'dangling' }>): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    if (state === 'dangling') await rm(path);
    await symlink(program, path);
  } catch (error) {
    throw new SlipwayError(
      'LOCAL_FILES',
      `${path} can't be linked to ${program}: ${systemCode(error) ?? String(error)}`,
      {
        hint: `See what this says: ln -s ${program} ${path}`,
        cause: error,
      },
    );
  }
}

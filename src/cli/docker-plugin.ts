import { lstat, mkdir, readFile, readlink, realpath, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SlipwayError, systemCode } from '../errors.ts';
import { getDockerClientProgram, findProgram } from '../computer/programs.ts';
import type { Cli } from './command.ts';

/**
 * What `docker machine` is on this computer. `path` is where the docker CLI finds it, or where Slipway would link it.
 */
export type DockerMachinePlugin =
  | { readonly state: 'ours'; readonly path: string; readonly program: string }
  | { readonly state: 'foreign'; readonly path: string }
  /** `dangling`: Slipway's own link, whose program has moved away. */
  | { readonly state: 'absent' | 'dangling'; readonly path: string; readonly program: string };

/** The docker CLI takes a program of this name as its plugin `machine`. */
const PLUGIN_NAME = 'docker-machine';
const PLUGIN_SCRIPT = join('dist', 'docker-machine.js');
/** The folders in which the docker CLI looks after the user's own. */
const SYSTEM_PLUGIN_FOLDERS = ['/usr/local/lib', '/usr/local/libexec', '/usr/lib', '/usr/libexec'].map((folder) =>
  join(folder, 'docker', 'cli-plugins'),
);

/** Finds the plugin. Returns undefined if there is no docker CLI, or one that accepts no link as a program. */
export async function findPlugin({
  packageFile,
  world: { computer, clientPaths },
}: Cli): Promise<DockerMachinePlugin | undefined> {
  if (computer.platform === 'win32') return undefined;
  if ((await findProgram(await getDockerClientProgram(computer), computer)) === undefined) return undefined;
  const program = await realpath(join(dirname(packageFile), PLUGIN_SCRIPT)).catch(() => undefined);
  if (program === undefined) return undefined;
  const userPath = join(clientPaths.dockerConfig, 'cli-plugins', PLUGIN_NAME);
  for (const path of [userPath, ...SYSTEM_PLUGIN_FOLDERS.map((folder) => join(folder, PLUGIN_NAME))]) {
    if (!(await lstat(path).catch(() => undefined))) continue;
    const target = await realpath(path).catch(() => undefined);
    if (target !== undefined) {
      return (await isSlipwayScript(target)) ? { state: 'ours', path, program: target } : { state: 'foreign', path };
    }
    const isOwnLink = (await readlink(path).catch(() => '')).endsWith(PLUGIN_SCRIPT);
    if (!isOwnLink) return { state: 'foreign', path };
    return { state: path === userPath ? 'dangling' : 'absent', path: userPath, program };
  }
  return { state: 'absent', path: userPath, program };
}

/** Returns whether the file is the program of any installation of Slipway. */
async function isSlipwayScript(file: string): Promise<boolean> {
  if (!file.endsWith(PLUGIN_SCRIPT)) return false;
  const text = await readFile(join(dirname(dirname(file)), 'package.json'), 'utf8').catch(() => '{}');
  return /"name":\s*"slipway"/.test(text);
}

/** Links the plugin. It overwrites nothing but Slipway's own dangling link. */
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
        hint: `To see why, run: ln -s ${program} ${path}`,
        cause: error,
      },
    );
  }
}

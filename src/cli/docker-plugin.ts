import { lstat, mkdir, readFile, readlink, realpath, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { reasonOf, SlipwayError, systemCode } from '../errors.ts';
import { deleteFile, ignoreMissing, localFileError } from '../computer/files.ts';
import { getDockerClientProgram, findProgram } from '../computer/programs.ts';
import type { Cli } from './command.ts';

/**
 * The state of the plugin `docker machine` on this computer. `path` is where the docker CLI finds it, or where Slipway
 * would link it.
 */
export type DockerMachinePlugin =
  | { readonly state: 'ours'; readonly path: string; readonly program: string }
  | { readonly state: 'foreign'; readonly path: string }
  | { readonly state: 'unreadable'; readonly path: string; readonly reason: string }
  /** `dangling`: Slipway's own link, whose program was moved or removed. */
  | { readonly state: 'absent' | 'dangling'; readonly path: string; readonly program: string };

/** The docker CLI runs a program of this name as its plugin `machine`. */
const PLUGIN_NAME = 'docker-machine';
const PLUGIN_SCRIPT = join('dist', 'docker-machine.js');
/** The folders that the docker CLI searches after the user's own. */
const SYSTEM_PLUGIN_FOLDERS = ['/usr/local/lib', '/usr/local/libexec', '/usr/lib', '/usr/libexec'].map((folder) =>
  join(folder, 'docker', 'cli-plugins'),
);

/**
 * Finds the plugin. Returns undefined if there is no docker CLI, or one that does not accept a link as a program. The
 * docker CLI skips folders that it can't read, so only the user's own is reported if it is unreadable.
 */
export async function findPlugin({
  packageFile,
  world: { computer, clientPaths },
}: Cli): Promise<DockerMachinePlugin | undefined> {
  if (computer.platform === 'win32') return undefined;
  if ((await findProgram(await getDockerClientProgram(computer), computer)) === undefined) return undefined;
  const program = await ignoreMissing(realpath(join(dirname(packageFile), PLUGIN_SCRIPT)));
  if (program === undefined) return undefined;
  const userPath = join(clientPaths.dockerConfig, 'cli-plugins', PLUGIN_NAME);
  for (const path of [userPath, ...SYSTEM_PLUGIN_FOLDERS.map((folder) => join(folder, PLUGIN_NAME))]) {
    const found = await identifyPlugin(path);
    if (found === undefined || (found.state === 'unreadable' && path !== userPath)) continue;
    if (found.state !== 'dangling') return found;
    return { state: path === userPath ? 'dangling' : 'absent', path: userPath, program };
  }
  return { state: 'absent', path: userPath, program };
}

type FoundPlugin =
  | Exclude<DockerMachinePlugin, { readonly state: 'absent' | 'dangling' }>
  | { readonly state: 'dangling'; readonly path: string };

/** Returns what this path holds; undefined if it does not exist. */
async function identifyPlugin(path: string): Promise<FoundPlugin | undefined> {
  try {
    if (!(await ignoreMissing(lstat(path)))) return undefined;
    const target = await ignoreMissing(realpath(path));
    if (target === undefined)
      return { state: (await readlink(path)).endsWith(PLUGIN_SCRIPT) ? 'dangling' : 'foreign', path };
    return (await isSlipwayScript(target)) ? { state: 'ours', path, program: target } : { state: 'foreign', path };
  } catch (error) {
    return { state: 'unreadable', path, reason: reasonOf(localFileError(path, error, 'read')) };
  }
}

/** Returns whether the file is the program of any installation of Slipway. */
async function isSlipwayScript(file: string): Promise<boolean> {
  if (!file.endsWith(PLUGIN_SCRIPT)) return false;
  const text = await ignoreMissing(readFile(join(dirname(dirname(file)), 'package.json'), 'utf8'));
  return /"name":\s*"slipway"/.test(text ?? '');
}

/** Links the plugin. It overwrites nothing but Slipway's own dangling link. */
export async function linkPlugin({
  state,
  path,
  program,
}: Extract<DockerMachinePlugin, { readonly state: 'absent' | 'dangling' }>): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    if (state === 'dangling') await deleteFile(path);
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

import { mkdir, readFile, readlink, realpath, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { drivers } from '../../src/drivers/registry.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { runProgram, type ProgramResult } from '../fakes/run-program.ts';

const distPath = (name: string): string => fileURLToPath(new URL(`../../dist/${name}.js`, import.meta.url));

beforeAll(async () => {
  await stat(distPath('docker-machine')).catch(() => {
    throw new Error('dist/ is missing: run npm run build');
  });
});

type DoctorRow = { readonly what: string; readonly state: string; readonly detail: string };

/** Creates a user with these programs, an empty home, and a folder for plugins of the docker CLI. */
async function createUser(...programs: readonly string[]) {
  const folder = await createTemporaryFolder();
  const at = (...parts: readonly string[]): string => join(folder.path, ...parts);
  await mkdir(at('bin'));
  for (const name of programs) await writeFile(at('bin', name), '#!/bin/sh\necho 1\n', { mode: 0o755 });
  const link = at('settings', 'cli-plugins', 'docker-machine');
  const doctor = (...argv: readonly string[]): Promise<ProgramResult> =>
    runProgram(process.execPath, [distPath('slipway'), 'doctor', ...argv], {
      env: { PATH: at('bin'), HOME: folder.path, DOCKER_CONFIG: at('settings') },
    });
  return {
    at,
    link,
    doctor,
    async readRow(): Promise<DoctorRow | undefined> {
      const { rows } = JSON.parse((await doctor('--json')).stdout) as { readonly rows: readonly DoctorRow[] };
      return rows.find(({ what }) => what === 'docker machine');
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** Every program that a check may look for, so that nothing has to be installed. */
const computer = { platform: process.platform, arch: process.arch, env: {}, templates: '/nowhere', home: '' };
const allPrograms = [
  'docker',
  'ssh',
  ...drivers.flatMap((driver) => driver.programs?.(computer) ?? []).map(({ command }) => command),
];

describe('docker machine', () => {
  test('is reported as not linked, and is not linked without consent', async () => {
    await using user = await createUser(...allPrograms);
    expect(await user.readRow()).toEqual({
      what: 'docker machine',
      state: 'optional',
      detail: 'not linked; to link it: slipway doctor --fix',
    });
    expect((await user.doctor('--fix')).stderr).toContain('. Or let Slipway do it: slipway doctor --fix --yes\n');
    expect(await stat(user.at('settings')).catch(() => 'none')).toBe('none');
  });

  test("is linked by --fix --yes, to the program's real path, once", async () => {
    await using user = await createUser(...allPrograms);
    const { stderr } = await user.doctor('--fix', '--yes');
    expect(stderr).toContain(`"docker machine" is enabled. To undo: rm ${user.link}\n`);
    const program = await realpath(distPath('docker-machine'));
    expect(await readlink(user.link)).toBe(program);
    expect(await user.readRow()).toEqual({
      what: 'docker machine',
      state: 'ok',
      detail: `${user.link} is linked to ${program}; to undo: rm ${user.link}`,
    });
    expect((await user.doctor('--fix', '--yes')).stderr).not.toContain('works now');
  });

  test('is left unchanged if it belongs to another program', async () => {
    await using user = await createUser(...allPrograms);
    await mkdir(user.at('settings', 'cli-plugins'), { recursive: true });
    await writeFile(user.link, 'theirs', { mode: 0o755 });
    await user.doctor('--fix', '--yes');
    expect(await readFile(user.link, 'utf8')).toBe('theirs');
    expect(await user.readRow()).toMatchObject({
      state: 'note',
      detail: `${user.link} belongs to another program, so it is left unchanged`,
    });
  });

  test("is left unchanged if it is a broken link that is not Slipway's", async () => {
    await using user = await createUser(...allPrograms);
    await mkdir(user.at('settings', 'cli-plugins'), { recursive: true });
    await symlink('/nowhere/docker-machine', user.link);
    await user.doctor('--fix', '--yes');
    expect(await readlink(user.link)).toBe('/nowhere/docker-machine');
    expect(await user.readRow()).toMatchObject({ state: 'note' });
  });

  test('is linked again after the installation was moved', async () => {
    await using user = await createUser(...allPrograms);
    await mkdir(user.at('settings', 'cli-plugins'), { recursive: true });
    await symlink('/old/lib/node_modules/slipway/dist/docker-machine.js', user.link);
    expect(await user.readRow()).toMatchObject({
      state: 'optional',
      detail: `${user.link} is a broken link; to link it: slipway doctor --fix`,
    });
    await user.doctor('--fix', '--yes');
    expect(await readlink(user.link)).toBe(await realpath(distPath('docker-machine')));
  });

  test('is reported with the reason if its folder is unreadable, and the other checks go ahead', async () => {
    await using user = await createUser(...allPrograms);
    await mkdir(user.at('settings'));
    // A link to itself: root, as which tests may run, can read every other folder.
    await symlink('cli-plugins', user.at('settings', 'cli-plugins'));
    expect(await user.readRow()).toMatchObject({
      state: 'optional',
      detail: expect.stringMatching(
        / could not be read: its symbolic links form a loop; to fix it, check the folder .*\/settings\/cli-plugins$/,
      ),
    });
    expect((await user.doctor()).stdout).toMatch(/^ssh client +✔ ok/m);
  });

  test('is not mentioned without a docker CLI', async () => {
    await using user = await createUser('ssh');
    expect(await user.readRow()).toBeUndefined();
  });
});

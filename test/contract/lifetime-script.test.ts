import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { systemd } from '../../src/provision/init/systemd.ts';
import { joinTemplates } from '../../src/provision/step.ts';
import { formatAssignments } from '../../src/ssh/shell.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { runProgram } from '../fakes/run-program.ts';

const readTemplate = (name: string): Promise<string> =>
  readFile(new URL(`../../templates/${name}`, import.meta.url), 'utf8');

/**
 * Creates a folder in which life.sh moves files into place, with a systemctl that records its arguments, and fails
 * when they contain `fails`.
 */
async function createScriptFolder({ fails = 'nothing', full = false } = {}) {
  const folder = await createTemporaryFolder();
  const [bin, files, units, state] = ['bin', 'files', 'units', 'run'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
    string,
  ];
  for (const path of [bin, files, units]) await mkdir(path);
  const callLog = join(folder.path, 'calls');
  const writeProgram = async (name: string, text: string): Promise<void> =>
    writeFile(join(bin, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  await writeProgram('systemctl', `echo "$*" >>'${callLog}'; case "$*" in *'${fails}'*) exit 1 ;; esac`);
  // The first file moves, the second does not.
  if (full) await writeProgram('mv', `case "$*" in *idle*) exit 1 ;; esac; exec /bin/mv "$@"`);
  const deadline = join(units, 'slipway-deadline.timer');
  const idle = join(units, 'slipway-idle.timer');
  for (const path of [deadline, idle]) await writeFile(path, 'before');
  for (const name of ['0', '1']) await writeFile(join(files, name), 'after');
  return {
    idle,
    deadline,
    /** Runs life.sh. Returns its result, the calls of systemctl, the units, and whether it is marked as incomplete. */
    async run(timers: string, manifest: readonly string[]) {
      const script =
        formatAssignments({ TIMERS: timers, MANIFEST: manifest.join('\n') }) +
        (await joinTemplates([systemd.scripts.services, 'life.sh'], readTemplate));
      const env = { PATH: `${bin}:${process.env.PATH}`, RUN: state };
      const { code, stderr } = await runProgram('sh', ['-c', script], { env, cwd: folder.path });
      const calls = (await readFile(callLog, 'utf8').catch(() => '')).trim().split('\n').filter(Boolean);
      return { code, stderr, calls, units: (await readdir(units)).toSorted(), pending: await readdir(state) };
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const RELOAD = 'daemon-reload';
const [DEADLINE, IDLE] = ['slipway-deadline.timer', 'slipway-idle.timer'] as const;

describe('life.sh', () => {
  test('moves files first, then stops removed timers, reloads, and starts the others again', async () => {
    await using host = await createScriptFolder();
    const result = await host.run(DEADLINE, [`644 0 ${host.deadline}`, `- 1 ${host.idle}`]);
    expect(result).toEqual({
      code: 0,
      stderr: '',
      calls: [`stop ${IDLE}`, RELOAD, `restart ${DEADLINE}`],
      units: [DEADLINE],
      pending: [],
    });
    expect(await readFile(host.deadline, 'utf8')).toBe('after');
  });

  test("leaves running timers alone when a file can't be moved, and marks itself as incomplete", async () => {
    await using host = await createScriptFolder({ full: true });
    const result = await host.run(`${DEADLINE} ${IDLE}`, [`644 0 ${host.deadline}`, `644 1 ${host.idle}`]);
    expect(result).toEqual({
      code: 1,
      stderr: '!! the files could not be moved into place\n',
      calls: [],
      units: [DEADLINE, IDLE],
      pending: ['life-pending'],
    });
  });

  test.each([
    [RELOAD, 'the timers could not be loaded', [RELOAD]],
    [IDLE, `${IDLE} could not be started`, [RELOAD, `restart ${DEADLINE}`, `restart ${IDLE}`]],
  ])('says that %s failed, and marks itself as incomplete', async (fails, reason, calls) => {
    await using host = await createScriptFolder({ fails });
    const result = await host.run(`${DEADLINE} ${IDLE}`, [`644 0 ${host.deadline}`, `644 1 ${host.idle}`]);
    expect(result).toMatchObject({ code: 1, stderr: `!! ${reason}\n`, calls, pending: ['life-pending'] });
  });
});

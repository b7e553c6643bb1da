import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { formatGuestCommand } from '../../src/drivers/qemu/guest-channel.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { runProgram } from '../fakes/run-program.ts';
import { writeScript } from '../fakes/executable-scripts.ts';

const templatePath = (name: string): string => fileURLToPath(new URL(`../../templates/${name}`, import.meta.url));

/** A guest made of files: its port is a pipe, and its clock, its terminal and its power button only note what they are told. */
async function startGuest() {
  const folder = await createTemporaryFolder();
  const at = (name: string): string => join(folder.path, name);
  for (const program of ['date', 'systemctl', 'wall', 'stty'])
    await writeScript(at(`bin/${program}`), `echo "${program} $*" >>'${at('noted')}'`);
  await mkdir(at('proc/net'), { recursive: true });
  execFileSync('mkfifo', [at('port')]);
  const env = {
    PATH: `${at('bin')}:${process.env.PATH}`,
    PORT: at('port'),
    CONSOLE: at('console'),
    RUN: at('run'),
    PROC: at('proc'),
    SESSIONS: at('sessions'),
  };
  const told = spawn('sh', [templatePath('image/told.sh')], { env, stdio: 'ignore' });
  const ended = once(told, 'close');
  const noted = async (): Promise<string> => readFile(at('noted'), 'utf8').catch(() => '');
  return {
    at,
    noted,
    async tell(...lines: readonly string[]): Promise<void> {
      await writeFile(at('port'), `${lines.join('\n')}\n`);
    },
    /** Whether idle.sh, which lets a host be idle for 100 seconds, powers it off at this second of its uptime. */
    async idle(second: number): Promise<boolean> {
      await writeFile(at('proc/uptime'), `${second}.52 99.10\n`);
      const { code, stderr } = await runProgram('sh', [templatePath('idle.sh'), '100', '2376', 'web', '60'], { env });
      expect([code, stderr]).toEqual([0, '']);
      return (await noted()).includes('systemctl poweroff');
    },
    async [Symbol.asyncDispose]() {
      told.kill('SIGKILL');
      await ended;
      await folder[Symbol.asyncDispose]();
    },
  };
}

test('a machine that is told the time goes on, and has not been idle', async () => {
  await using machine = await startGuest();
  expect(await machine.idle(1000)).toBe(false);
  expect(await machine.idle(1060)).toBe(false);
  await expect.poll(machine.noted).toContain('stty raw -echo');
  await machine.tell(...formatGuestCommand({ do: 'clock' }, new Date(1_800_000_000_000)));
  await expect.poll(machine.noted).toContain('date --set @1800000000.000');
  expect(await machine.idle(1110), 'it was idle for 50 seconds more').toBe(false);
  expect(await machine.idle(1170)).toBe(false);
  expect(await readdir(machine.at('run'))).toContain('active');
  expect(await machine.idle(1230), 'nobody wants it').toBe(true);
});

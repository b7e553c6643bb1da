import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { formatGuestCommand } from '../../src/drivers/qemu/guest-channel.ts';
import { systemd } from '../../src/provision/init/systemd.ts';
import { readLifetimeScripts } from '../../src/provision/lifetime-timers.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { runProgram } from '../fakes/run-program.ts';
import { writeScript } from '../fakes/executable-scripts.ts';

const templatePath = (name: string): string => fileURLToPath(new URL(`../../templates/${name}`, import.meta.url));
/** The script as installed in the guest. */
const { idle: idleScript } = await readLifetimeScripts(systemd, (name) => readFile(templatePath(name), 'utf8'));

/**
 * Starts a guest made of files: its channel is a pipe, and the programs for its clock, terminal and power only record
 * their arguments.
 */
async function startGuest() {
  const folder = await createTemporaryFolder();
  const at = (name: string): string => join(folder.path, name);
  for (const program of ['date', 'systemctl', 'wall', 'stty'])
    await writeScript(at(`bin/${program}`), `echo "${program} $*" >>'${at('calls')}'`);
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
  const agent = spawn('sh', [templatePath('image/guest-agent.sh')], { env, stdio: 'ignore' });
  const ended = once(agent, 'close');
  const readCalls = async (): Promise<string> => readFile(at('calls'), 'utf8').catch(() => '');
  return {
    at,
    readCalls,
    async send(...lines: readonly string[]): Promise<void> {
      await writeFile(at('port'), `${lines.join('\n')}\n`);
    },
    /**
     * Returns whether idle.sh, which allows a host to be idle for 100 seconds, powers it off at this second of its
     * uptime.
     */
    async powersOffAt(second: number): Promise<boolean> {
      await writeFile(at('proc/uptime'), `${second}.52 99.10\n`);
      const { code, stderr } = await runProgram('sh', ['-c', idleScript, 'idle.sh', '100', '2376', 'web', '60'], {
        env,
      });
      expect([code, stderr]).toEqual([0, '']);
      return (await readCalls()).includes('systemctl poweroff');
    },
    async [Symbol.asyncDispose]() {
      agent.kill('SIGKILL');
      await ended;
      await folder[Symbol.asyncDispose]();
    },
  };
}

test('a guest that is asked to shut down does so', async () => {
  await using guest = await startGuest();
  await expect.poll(guest.readCalls).toContain('stty raw -echo');
  await guest.send('', 'poweroff 0123', 'answer 4567');
  await expect.poll(guest.readCalls).toContain('systemctl --no-block poweroff');
});

test('a guest that gets the time after a resume counts as active', async () => {
  await using guest = await startGuest();
  expect(await guest.powersOffAt(1000)).toBe(false);
  expect(await guest.powersOffAt(1060)).toBe(false);
  await expect.poll(guest.readCalls).toContain('stty raw -echo');
  await guest.send(...formatGuestCommand({ do: 'clock' }, new Date(1_800_000_000_000)));
  await expect.poll(guest.readCalls).toContain('date --set @1800000000.000');
  expect(await guest.powersOffAt(1110), 'it has been idle for 50 seconds').toBe(false);
  expect(await guest.powersOffAt(1170)).toBe(false);
  expect(await readdir(guest.at('run'))).toContain('active');
  expect(await guest.powersOffAt(1230), 'it has been idle for 120 seconds').toBe(true);
});

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bedCache } from '../bed/bed-host.ts';
import { runProgram } from '../fakes/run-program.ts';
import { program, type Outcome } from './test-user.ts';

const wineFolder = join(bedCache.folder, 'wine');
const windowsNode = join(wineFolder, 'package', 'bin', 'node.exe');
const drive = join(wineFolder, 'home', 'drive_c');

/** Whether test/bed/wine.sh has prepared Wine here. */
export const hasWine = existsSync(join(wineFolder, 'state'));

/** A user of Windows under Wine, whose name has a space and an umlaut. */
export type WindowsUser = AsyncDisposable & {
  /** The user's profile folder: its path on this computer, and its path on Windows. */
  readonly home: string;
  readonly windowsHome: string;
  /** Runs slipway with Windows' own Node, without a terminal, in the profile folder or another one. */
  slipway(...argv: readonly string[]): Promise<Outcome>;
  slipwayWith(
    how: { readonly env?: Readonly<Record<string, string>>; readonly cwd?: string },
    ...argv: readonly string[]
  ): Promise<Outcome>;
  /** Runs JavaScript with Windows' own Node. */
  node(script: string): Promise<Outcome>;
};

export async function createWindowsUser(): Promise<WindowsUser> {
  const name = 'Ada Bö';
  const home = join(drive, 'users', name);
  const windowsHome = `C:\\users\\${name}`;
  const outputs = await mkdtemp(join(tmpdir(), 'slipway-wine-'));
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    LANG: 'C.UTF-8',
    // Wine names the profile folder after the user.
    USER: name,
    LOGNAME: name,
    WINEPREFIX: join(wineFolder, 'home'),
    WINEDEBUG: '-all',
    WINEDLLOVERRIDES: 'mscoree,mshtml=',
    WINEPATH: String.raw`C:\windows\system32\OpenSSH;C:\Program Files\Docker`,
    UNIX_PROGRAMS: join(wineFolder, 'bin'),
    SLIPWAY_QEMU_WARM: 'false',
  };
  // As long as Wine's processes run, they are those of the user who started them.
  const endWine = async (): Promise<void> => void (await runProgram('wineserver', ['-k'], { env }));
  await endWine();
  await rm(home, { recursive: true, force: true });
  await mkdir(home, { recursive: true });
  let calls = 0;
  const run = async (argv: readonly string[], more: object = {}, cwd = home): Promise<Outcome> => {
    calls += 1;
    // The standard output of a Windows program can be no Unix pipe.
    const [stdout, stderr] = [join(outputs, `${calls}.out`), join(outputs, `${calls}.err`)];
    await using out = await open(stdout, 'w');
    await using err = await open(stderr, 'w');
    // Windows has no file modes, and ssh refuses keys that others can read.
    const child = spawn('sh', ['-c', 'umask 077; exec wine "$@"', 'sh', windowsNode, ...argv], {
      cwd,
      env: { ...env, ...more },
      stdio: ['ignore', out.fd, err.fd],
    });
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => resolve(status ?? 1));
    });
    return { code, stdout: await readFile(stdout, 'utf8'), stderr: await readFile(stderr, 'utf8') };
  };
  const script = `Z:${program.replaceAll('/', '\\')}`;
  return {
    home,
    windowsHome,
    slipway: (...argv) => run([script, ...argv]),
    slipwayWith: (how, ...argv) => run([script, ...argv], how.env, how.cwd),
    node: (text) => run(['-e', text]),
    async [Symbol.asyncDispose]() {
      const names = (await run([script, 'ls', '--quiet'])).stdout.split('\n').filter(Boolean);
      if (names.length > 0) await run([script, 'rm', '--force', ...names]);
      await endWine();
      await rm(home, { recursive: true, force: true });
      await rm(outputs, { recursive: true, force: true });
    },
  };
}

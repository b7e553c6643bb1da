import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { systemCode } from '../../src/errors.ts';
import { findFreePort } from './free-port.ts';
import { runProgram } from './run-program.ts';

/** Where Debian's package puts it; users' PATHs often lack this folder. */
export const SSHD = '/usr/sbin/sshd';

export type RealSshd = AsyncDisposable & {
  readonly port: number;
  readonly user: string;
  /** `ssh-ed25519 AAAA…` */
  readonly hostKey: string;
  /** The server's own log. */
  log(): Promise<string>;
  /** Sends a signal to the processes that serve logins, and to those of their commands. */
  signalLogins(signal: NodeJS.Signals): Promise<void>;
  /** Kills the server and all its logins. */
  kill(): Promise<void>;
  /** Starts the server again on the same port. */
  restart(): Promise<void>;
};

/**
 * Starts OpenSSH's server on 127.0.0.1 for the user who runs the tests, with these lines of sshd_config. `authorized`
 * is the content of the user's authorized_keys.
 */
export async function startRealSshd(
  folder: string,
  { lines = [], authorized = '' }: { readonly lines?: readonly string[]; readonly authorized?: string } = {},
): Promise<RealSshd> {
  const home = join(folder, `sshd-${Math.random().toString(36).slice(2)}`);
  await mkdir(home);
  const hostKeyFile = join(home, 'host_key');
  await generateKeyFile(hostKeyFile);
  await writeFile(join(home, 'authorized_keys'), authorized, { mode: 0o600 });
  const port = await findFreePort();
  const config = [
    // sshd uses the first value of each keyword.
    ...lines,
    'ListenAddress 127.0.0.1',
    `Port ${port}`,
    `HostKey ${hostKeyFile}`,
    `PidFile ${join(home, 'pid')}`,
    `AuthorizedKeysFile ${join(home, 'authorized_keys')}`,
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin yes',
    'LogLevel VERBOSE',
  ];
  await writeFile(join(home, 'sshd_config'), `${config.join('\n')}\n`);
  // sshd, as root, requires this folder, which Debian's service creates.
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  const log = join(home, 'log');
  const start = async (): Promise<ChildProcess> => {
    const server = spawn(SSHD, ['-D', '-f', join(home, 'sshd_config'), '-E', log], { stdio: 'ignore' });
    await waitForLine(log, 'Server listening', server);
    return server;
  };
  let child = await start();
  const [type, key] = (await readFile(`${hostKeyFile}.pub`, 'utf8')).split(' ');
  const signalLogins = async (signal: NodeJS.Signals): Promise<void> => {
    for (const pid of await findDescendants(child.pid ?? 0)) signalIfRunning(pid, signal);
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  };
  return {
    port,
    user: userInfo().username,
    hostKey: `${type} ${key}`,
    log: () => readFile(log, 'utf8'),
    signalLogins,
    async kill() {
      await signalLogins('SIGKILL');
      await end('SIGKILL');
    },
    async restart() {
      await rename(log, `${log}-${child.pid}`);
      child = await start();
    },
    [Symbol.asyncDispose]: () => end('SIGTERM'),
  };
}

function signalIfRunning(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}

/** Returns the processes that this one has started, and those that these have started. Linux only. */
async function findDescendants(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const children = text.trim().split(' ').filter(Boolean).map(Number);
  return [...children, ...(await Promise.all(children.map(findDescendants))).flat()];
}

/** Generates a key pair with ssh-keygen, in `file` and `file.pub`. */
export async function generateKeyFile(file: string, passphrase = ''): Promise<void> {
  const { code, stderr } = await runProgram('ssh-keygen', ['-q', '-t', 'ed25519', '-N', passphrase, '-f', file]);
  if (code !== 0) throw new Error(stderr);
}

async function waitForLine(file: string, line: string, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text.includes(line)) return;
    if (child.exitCode !== null) throw new Error(`sshd ended: ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`sshd did not start: ${await readFile(file, 'utf8').catch(() => '')}`);
}

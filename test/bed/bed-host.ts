import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { access, mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export type HostKey = { readonly type: string; readonly base64: string; readonly fingerprint: string };

export type Outcome = { stdout: string; stderr: string; code: number };

export type BedHost = AsyncDisposable & {
  readonly id: string;
  readonly address: string;
  /**
   * The private key (ed25519, OpenSSH format) that root, deploy, ops and plain accept; its public key is next to it.
   */
  readonly keyFile: string;
  readonly hostKeys: readonly HostKey[];
  /** Runs a shell command in the host as root. A non-zero exit is an outcome, not an error. */
  exec(command: string, options?: { stdin?: string }): Promise<Outcome>;
  /** Returns the trimmed output of a shell command, and throws if the command failed. */
  runOrThrow(command: string): Promise<string>;
  /** Copies a file or a folder, which gets the remote path's name and belongs to root; creates missing parents. */
  copyIn(localPath: string, remotePath: string): Promise<void>;
  /** Returns false once the host has shut itself down. */
  isRunning(): Promise<boolean>;
};

export type HostOptions = {
  suite: 'bookworm' | 'trixie';
  engine?: boolean;
  /** More options of "docker create". */
  runArgs?: readonly string[];
};

const startScript = fileURLToPath(new URL('./start.sh', import.meta.url));
const engineAddress = process.env['SLIPWAY_BED_DOCKER_HOST'] || 'unix:///var/run/docker.sock';
const cacheHome = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
const cacheFolder = process.env['SLIPWAY_BED_CACHE'] || join(cacheHome, 'slipway-bed');
const ownerLabel = 'slipway-bed-host';
const bedImages = ['bookworm-bare', 'bookworm-engine', 'trixie-bare', 'trixie-engine'].map(
  (variant) => `slipway-bed:${variant}`,
);

/** Client plugins (a directory), a static busybox and a registry (files) that tests may copy into hosts and images. */
export const bedCache = {
  folder: cacheFolder,
  plugins: join(cacheFolder, 'cli-plugins'),
  busybox: join(cacheFolder, 'busybox'),
  registry: join(cacheFolder, 'registry'),
} as const;

/** Returns why hosts cannot start here as one sentence; undefined if they can. */
export async function findBedProblem(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'The test bed needs Linux: its hosts are containers that boot systemd.';
  try {
    const version = await runDocker(['version', '--format', '{{.Server.Version}}']);
    if (version.code !== 0)
      return `No Docker engine answers at ${engineAddress} (set SLIPWAY_BED_DOCKER_HOST for another).`;
  } catch (error) {
    if (!isFileNotFound(error)) throw error;
    return 'The test bed needs the docker client.';
  }
  const found = await runDocker(['image', 'inspect', '--format', '{{.Id}}', ...bedImages]);
  if (found.code !== 0) return "The test bed's images are missing: build them with `npm run bed`.";
  const tools = [
    join(bedCache.plugins, 'docker-compose'),
    join(bedCache.plugins, 'docker-buildx'),
    bedCache.busybox,
    bedCache.registry,
  ];
  try {
    await Promise.all(tools.map((tool) => access(tool)));
  } catch {
    return `The test bed's tools are missing from ${cacheFolder}: fetch them with \`npm run bed\`.`;
  }
  return undefined;
}

/** Starts a host, and waits until it has booted, answers on SSH, and its engine runs if it has one. */
export async function startHost(options: HostOptions): Promise<BedHost> {
  const keyFile = await getSharedKey();
  const variant = `${options.suite}-${options.engine ? 'engine' : 'bare'}`;
  const name = `slipway-bed-${variant}-${randomBytes(4).toString('hex')}`;
  const args = [startScript, variant, name, `${keyFile}.pub`, ...(options.runArgs ?? [])];
  const started = await runProgram('bash', args, {
    env: { ...environmentWithoutDocker(), SLIPWAY_BED_OWNER: String(process.pid) },
  });
  if (started.code !== 0) throw new Error(`The host ${name} did not start: ${started.stderr.trim()}`);

  const [first = '', ...keys] = started.stdout.trim().split('\n');
  const [id = '', address = ''] = first.split(' ');
  const remove = async (): Promise<void> => {
    const removed = await runDocker(['rm', '-fv', id]);
    if (removed.code !== 0 && !/No such container|already in progress/.test(removed.stderr))
      throw new Error(removed.stderr.trim());
  };
  try {
    await waitForSshBanner(address, 10_000);
  } catch (error) {
    await remove();
    throw error;
  }

  const exec = (command: string, { stdin }: { stdin?: string } = {}): Promise<Outcome> =>
    runDocker(['exec', ...(stdin === undefined ? [] : ['-i']), id, 'sh', '-c', command], { stdin });
  return {
    id,
    address,
    keyFile,
    hostKeys: keys.map(parseHostKey),
    exec,
    async runOrThrow(command) {
      const outcome = await exec(command);
      if (outcome.code !== 0) throw new Error(`${command}: exit ${outcome.code}: ${outcome.stderr.trim()}`);
      return outcome.stdout.trim();
    },
    async isRunning() {
      const state = await runDocker(['inspect', '--format', '{{.State.Running}}', id]);
      if (state.code !== 0) throw new Error(state.stderr.trim());
      return state.stdout.trim() === 'true';
    },
    async copyIn(localPath, remotePath) {
      const args = [
        '-c',
        copyScript,
        'copyIn',
        dirname(resolve(localPath)),
        basename(resolve(localPath)),
        id,
        remotePath,
      ];
      const copied = await runProgram('bash', args, {
        env: { ...environmentWithoutDocker(), DOCKER_HOST: engineAddress },
      });
      if (copied.code !== 0) throw new Error(`${localPath} was not copied to ${remotePath}: ${copied.stderr.trim()}`);
    },
    [Symbol.asyncDispose]: remove,
  };
}

/**
 * Removes the hosts and keys of test processes that are no longer alive (a test runner ends its workers without letting
 * them clean up). Hosts started by hand stay.
 */
export async function removeLeftovers(): Promise<void> {
  const format = `{{.ID}} {{.Label "${ownerLabel}"}}`;
  const listed = await runDocker(['ps', '--all', '--filter', `label=${ownerLabel}`, '--format', format]);
  if (listed.code !== 0) throw new Error(listed.stderr.trim());
  const dead = listed.stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, owner = '']) => /^\d+$/.test(owner) && !isAlive(Number(owner)))
    .map(([id = '']) => id);
  if (dead.length > 0) await runDocker(['rm', '-fv', ...dead]);
  for (const name of await readdir(tmpdir())) {
    const owner = name.startsWith(keyPrefix) ? Number.parseInt(name.slice(keyPrefix.length), 10) : Number.NaN;
    if (owner > 0 && !isAlive(owner)) await rm(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** Copies through a process in the host: "docker cp" would write below the host's own /tmp and /run. */
const copyScript = `
  set -euo pipefail
  tar -c -C "$1" --owner=0 --group=0 -- "$2" |
    docker exec -i "$3" sh -euc '
      mkdir -p "$(dirname "$1")"
      arrived=$(mktemp -d -p "$(dirname "$1")")
      tar -x -C "$arrived"
      mv -T "$arrived"/* "$1"
      rmdir "$arrived"
    ' sh "$4"
`;

function runDocker(args: readonly string[], options: { stdin?: string | undefined } = {}): Promise<Outcome> {
  return runProgram('docker', ['--host', engineAddress, ...args], { ...options, env: environmentWithoutDocker() });
}

/** Returns the environment without DOCKER_* variables, which are for the machine under test, never for the bed. */
function environmentWithoutDocker(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('DOCKER_')));
}

/** Rejects only when the program cannot be run or ends by a signal. */
function runProgram(
  file: string,
  args: readonly string[],
  options: { env: NodeJS.ProcessEnv; stdin?: string | undefined },
): Promise<Outcome> {
  return new Promise((resolvePromise, reject) => {
    const child = execFile(file, args, { env: options.env, maxBuffer: 256 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolvePromise({ stdout, stderr, code: error === null ? 0 : Number(error.code) });
    });
    // A command may end without having read its input; its exit code is what counts.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.stdin ?? '');
  });
}

const keyPrefix = 'slipway-bed-key-';

let sharedKeyFile: Promise<string> | undefined;

function getSharedKey(): Promise<string> {
  sharedKeyFile ??= generateKey();
  return sharedKeyFile;
}

async function generateKey(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), `${keyPrefix}${process.pid}-`));
  const file = join(directory, 'id_ed25519');
  const outcome = await runProgram('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'slipway-bed', '-f', file], {
    env: process.env,
  });
  if (outcome.code !== 0) throw new Error(`ssh-keygen: ${outcome.stderr.trim()}`);
  return file;
}

function parseHostKey(line: string): HostKey {
  const [type = '', base64 = ''] = line.split(' ');
  const digest = createHash('sha256').update(Buffer.from(base64, 'base64')).digest('base64');
  return { type, base64, fingerprint: `SHA256:${digest.replace(/=+$/, '')}` };
}

/** Waits for the SSH banner. One connection is enough: systemd reports the boot only once sshd listens. */
function waitForSshBanner(address: string, timeout: number): Promise<void> {
  return new Promise((resolvePromise, reject) => {
    let received = '';
    const socket = connect({ host: address, port: 22 });
    socket.setTimeout(timeout, () =>
      socket.destroy(new Error(`No SSH banner from ${address} within ${timeout / 1000} s`)),
    );
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      if (!received.startsWith('SSH-2.0-')) return;
      socket.destroy();
      resolvePromise();
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`${address} closed the connection without an SSH banner`)));
  });
}

function isFileNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: the process runs as another user.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

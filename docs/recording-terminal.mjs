// The stage on which pictures are recorded: a real terminal (tmux) with its own home and `slipway`, and container hosts
// of test/bed.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';

const pathTo = (path) => fileURLToPath(new URL(path, import.meta.url));
const DOCKER_HOST_FLAGS = ['--host', 'unix:///var/run/docker.sock'];
const TIMEOUT_MINUTES = 20;
const EC2_SCRIPT = `
  import { startEc2 } from '../test/clouds/ec2-double.ts';
  import { containerGuests } from '../test/clouds/guests.ts';
  const cloud = await startEc2({ guests: containerGuests(), bootTime: 500 });
  process.stdout.write(JSON.stringify(cloud.env));
  process.stdin.resume().on('end', async () => {
    await cloud[Symbol.asyncDispose]();
    process.exit();
  });
`;

export async function openStage({ columns, rows }) {
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  const home = await mkdtemp(join(tmpdir(), 'slipway-picture-'));
  const bin = join(home, 'bin');
  // No history file: bash would write it into the folder while the folder is being removed.
  const env = { HOME: home, PATH: `${bin}:${process.env.PATH}`, LANG: 'C.UTF-8', HISTFILE: '' };
  const run = (file, argv) => promisify(execFile)(file, argv, { env });
  const tmux = async (...argv) =>
    (await run('tmux', ['-u', '-f', '/dev/null', '-S', join(home, 'tmux'), ...argv])).stdout;
  const hosts = [];
  let cloud;
  let key;
  const makeKey = async () => {
    const file = join(home, '.ssh', 'id_ed25519');
    await mkdir(join(home, '.ssh'), { mode: 0o700 });
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'picture', '-f', file]);
    return file;
  };
  await mkdir(bin);
  await symlink(pathTo('../dist/slipway.js'), join(bin, 'slipway'));

  const stage = {
    home,
    run,
    runSlipway: (...argv) => run(process.execPath, [pathTo('../dist/slipway.js'), ...argv]),
    /** Returns the text on the screen. `readColoredScreen` adds its escape sequences. */
    readScreen: (...flags) => tmux('capture-pane', '-p', ...flags),
    readColoredScreen: () => stage.readScreen('-e'),
    async waitUntil(isShown, what) {
      const end = Date.now() + TIMEOUT_MINUTES * 60_000;
      for (;;) {
        const screen = await stage.readScreen();
        if (isShown(screen)) return screen;
        if (Date.now() > end) throw new Error(`${what} did not appear within ${TIMEOUT_MINUTES} minutes:\n${screen}`);
        await sleep(100, undefined, { signal: stop.signal });
      }
    },
    async typeLine(line) {
      await tmux('send-keys', '-l', line);
      await tmux('send-keys', 'Enter');
    },
    /** Presses keys by their tmux names: Down, Enter. */
    pressKeys: (...names) => tmux('send-keys', ...names),
    resize: (to) => tmux('resize-window', '-x', String(to.columns), '-y', String(to.rows)),
    writeHomeFile: (file, text) => writeFile(join(home, file), text),
    /** Clears the screen, in the home folder. */
    async clear() {
      await stage.typeLine('cd; clear; tmux clear-history');
      await stage.waitUntil((screen) => /^\$ *\n*$/.test(screen), 'An empty screen');
    },
    /** Exports variables to the commands that follow. */
    async setVariables(variables) {
      Object.assign(env, variables);
      const line = Object.entries(variables).map(([name, value]) => `export ${name}=${value}`);
      await stage.typeLine(line.join('; '));
      await stage.clear();
    },
    /** Starts the tests' double of EC2, with hosts of test/bed behind its instances. Returns its variables. */
    async startEc2() {
      const file = join(home, 'ec2.mjs');
      await build({
        stdin: { contents: EC2_SCRIPT, resolveDir: pathTo('.'), loader: 'ts' },
        outfile: file,
        bundle: true,
        platform: 'node',
        format: 'esm',
        define: { 'import.meta.url': JSON.stringify(new URL('../test/bed/bed-host.ts', import.meta.url).href) },
        logLevel: 'warning',
      });
      cloud = spawn(process.execPath, [file], { stdio: ['pipe', 'pipe', 'inherit'] });
      const [text] = await once(cloud.stdout, 'data');
      return JSON.parse(String(text));
    },
    /** Types a line, and waits for the next prompt. */
    async typeAndWait(line) {
      const prompts = (screen) => screen.split('\n').filter((shown) => shown.startsWith('$')).length;
      const before = prompts(await stage.readScreen());
      await stage.typeLine(line);
      return await stage.waitUntil((screen) => prompts(screen) > before, `The end of "${line}"`);
    },
    /** Starts a container that boots like a machine and accepts the SSH key of this home. */
    async startHost(variant) {
      key ??= makeKey();
      const name = `slipway-picture-${process.pid}-${hosts.length}`;
      hosts.push(name);
      const { stdout } = await run('bash', [pathTo('../test/bed/start.sh'), variant, name, `${await key}.pub`]);
      const address = stdout.split('\n')[0].split(' ')[1];
      return { address, sh: (command) => run('docker', [...DOCKER_HOST_FLAGS, 'exec', name, 'sh', '-c', command]) };
    },
    async [Symbol.asyncDispose]() {
      await tmux('kill-server').catch(() => {});
      if (cloud) {
        // When its input ends, the double removes its instances and exits.
        cloud.stdin.end();
        await once(cloud, 'exit');
        await rm(join(home, '.slipway', 'machines'), { recursive: true, force: true });
      }
      // If this fails, a VM may still run, so the folder must stay.
      const names = (await stage.runSlipway('ls', '-q')).stdout.split('\n').filter((name) => name !== '');
      if (hosts.length > 0) await run('docker', [...DOCKER_HOST_FLAGS, 'rm', '-fv', ...hosts]);
      else if (names.length > 0) await stage.runSlipway('rm', ...names);
      // create may still be building a spare in the background.
      if (hosts.length === 0) await stage.runSlipway('image', 'prune');
      await rm(home, { recursive: true, force: true });
    },
  };
  await tmux('new-session', '-d', '-x', String(columns), '-y', String(rows), 'bash --norc');
  await tmux('send-keys', String.raw`PS1='\[\e[32m\]$\[\e[0m\] '; clear; tmux clear-history`, 'Enter');
  await stage.waitUntil((screen) => /^\$ *\n*$/.test(screen), 'A prompt');
  return stage;
}

/** Imports a container image that contains only a busybox and prints where it runs. It needs no registry. */
export async function loadHelloImage(context, { home, run }) {
  const root = join(home, 'hello', 'bin');
  await mkdir(root, { recursive: true });
  const { stdout: busybox } = await run('sh', ['-c', 'command -v busybox']);
  await copyFile(busybox.trim(), join(root, 'busybox'));
  for (const applet of ['sh', 'echo', 'uname', 'nproc']) await symlink('busybox', join(root, applet));
  const tar = join(home, 'hello.tar');
  await run('tar', ['-cf', tar, '-C', join(home, 'hello'), '--owner=0', '--group=0', '.']);
  const command = 'CMD ["/bin/sh", "-c", "echo Hello from a container on $(uname -sr), $(nproc) CPUs"]';
  const changes = ['--change', 'ENV PATH=/bin', '--change', command];
  await run('docker', ['--context', context, 'import', ...changes, tar, 'hello']);
}

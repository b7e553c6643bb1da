import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasProgram, runProgram } from './run-program.ts';
import { bundleModule, startScript, type ScriptProcess } from './script-process.ts';
import { createTemporaryFolder } from './temporary-folder.ts';

/** What is installed on a machine as /usr/local/lib/slipway. */
const library = fileURLToPath(new URL('../../templates/link', import.meta.url));

/** Returns why sshfs can't mount here, or undefined. */
export function findMountProblem(): string | undefined {
  if (!['sshfs', 'perl', 'umount'].every(hasProgram)) return 'sshfs or perl is not installed';
  return process.getuid?.() === 0 ? undefined : 'only root mounts here';
}

export type MountedFolder = AsyncDisposable & {
  /** The folder of the computer. */
  readonly source: string;
  /** Where it is mounted. */
  readonly mounted: string;
  /** A folder for other files of the test. */
  readonly work: string;
  startServer(): Promise<void>;
  /** Kills the process that serves the folder, with SIGKILL. */
  killServer(): Promise<void>;
  readonly serverProcess: () => ChildProcess;
  /** Runs a shell script in the mounted folder. */
  run(script: string): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;
};

/** Mounts a folder with the real sshfs and slipway-dial, served by another process over a Unix socket. */
export async function mountFolder(how: { readonly waitSeconds?: number } = {}): Promise<MountedFolder> {
  const folder = await createTemporaryFolder();
  const [source, mounted] = [join(folder.path, 'source'), join(folder.path, 'mounted')];
  const socket = join(folder.path, 'mount-one.sock');
  for (const path of [source, mounted]) await mkdir(path);
  await mkdir(join(folder.path, 'link/folders'), { recursive: true });
  const module = await bundleModule('link/folders/sftp-server.ts', folder.path);
  const options = {
    folders: [{ folder: source, machinePath: mounted, isReadOnly: false }],
    secretFolders: [join(source, '.ssh')],
  };
  const script = `
    import { connect } from 'node:net';
    import { createFolderServer } from '${module}';
    const server = createFolderServer(${JSON.stringify(options)});
    console.log('started');
    (function attach() {
      const stream = connect(${JSON.stringify(socket)}, () => server.serve(stream));
      stream.on('error', () => {});
      stream.on('close', () => setTimeout(attach, 50));
    })();
  `;
  let server: ScriptProcess | undefined;
  const startServer = async (): Promise<void> => {
    server = await startScript(script, folder.path);
    await server.readLine();
  };
  const killServer = async (): Promise<void> => {
    server?.process.kill('SIGKILL');
    await server?.ended;
    server = undefined;
  };
  const description = `folder='${mounted}'\nwait_seconds=${how.waitSeconds ?? 60}\n`;
  await writeFile(join(folder.path, 'one'), description);
  const env = { ...process.env, LIBRARY: library, MOUNTS: folder.path, RUN: folder.path };
  const mountScript = (command: string): readonly string[] => [join(library, 'mount.sh'), command, 'one'];
  const sshfs = spawn('sh', mountScript('run'), { env, stdio: ['ignore', 'inherit', 'inherit'] });
  const { code, stderr } = await runProgram('sh', mountScript('wait'), { env });
  if (code !== 0) throw new Error(stderr);
  await startServer();
  return {
    source,
    mounted,
    work: folder.path,
    startServer,
    killServer,
    serverProcess: () => server?.process ?? sshfs,
    // The shell changes its folder itself: Node would wait for the mount together with its child.
    run: (script) => runProgram('sh', ['-euc', `cd "$0"\n${script}`, mounted]),
    async [Symbol.asyncDispose]() {
      const ended = sshfs.exitCode === null ? once(sshfs, 'exit') : undefined;
      sshfs.kill();
      await ended;
      await runProgram('sh', mountScript('remove'), { env });
      await killServer();
      await folder[Symbol.asyncDispose]();
    },
  };
}

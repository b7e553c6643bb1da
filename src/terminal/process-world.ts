import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import type { World } from '../operations/world.ts';
import type { Store } from '../machine/store.ts';
import { resolveSlipwayHome } from '../computer/slipway-home.ts';

/** Files that this package contains besides its program. */
export const packageFile = join(import.meta.dirname, '..', 'package.json');
const templatesFolder = join(import.meta.dirname, '..', 'templates');

/** Returns Slipway's own folder: `~/.slipway`, unless SLIPWAY_HOME names another. */
export function slipwayHome(): string {
  return resolveSlipwayHome(process.env, homedir());
}

/** Returns the folder in which Docker Machine stores its machines. */
export function dockerMachineStorePath(env: Readonly<Record<string, string | undefined>>, userHome: string): string {
  return env.MACHINE_STORAGE_PATH || join(userHome, '.docker', 'machine');
}

/**
 * Creates the controller that interrupts all work of this process at the first SIGINT, SIGTERM or SIGBREAK. A second
 * signal ends the process at once, with this exit status.
 */
export function createInterruptController(status: number): AbortController {
  const interrupt = new AbortController();
  // Each machine in progress adds a listener; without this, Node warns the user of a leak after ten.
  setMaxListeners(0, interrupt.signal);
  // Windows sends SIGBREAK for Ctrl-Break, and never SIGTERM.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGBREAK'] as const) {
    process.on(signal, () => {
      if (interrupt.signal.aborted) process.exit(status);
      interrupt.abort();
    });
  }
  return interrupt;
}

/** Calls `onClosed` when a reader closes the pipe (`ls | head -1`), which is not an error. */
export function ignoreClosedPipes(onClosed: () => void = () => {}): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      onClosed();
    });
  }
}

/**
 * Prepares the environment that child processes and libraries see: takes the sudo password out of it, which this
 * returns, and turns off the AWS SDK's warning about future versions of Node, which is not for users of this release.
 */
export function prepareEnvironment(): string | undefined {
  const { SLIPWAY_SUDO_PASSWORD: sudoPassword } = process.env;
  delete process.env.SLIPWAY_SUDO_PASSWORD;
  // Programs that Slipway starts, such as scp with its ssh, then do not look in the current folder first.
  if (process.platform === 'win32') process.env.NoDefaultCurrentDirectoryInExePath = '1';
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
  return sudoPassword;
}

/** Returns the pipe of Windows' own SSH agent, if it runs. Its ssh uses it without a variable. */
function windowsSshAgent(platform: NodeJS.Platform): string | undefined {
  const pipe = String.raw`\\.\pipe\openssh-ssh-agent`;
  return platform === 'win32' && existsSync(pipe) ? pipe : undefined;
}

/**
 * Creates the world of this process. The calling program chooses the store, the progress view and the signal that
 * interrupts it.
 */
export function createWorld(
  options: Pick<World, 'progress' | 'signal' | 'sudoPassword' | 'debug' | 'startSpareBuild'> & {
    readonly store: Store;
    /** See `Computer.storeHome`. */
    readonly storeHome?: string;
  },
): World {
  const { storeHome, ...rest } = options;
  const userHome = homedir();
  const { platform, arch, env } = process;
  return {
    ...rest,
    computer: {
      platform,
      arch,
      env,
      home: slipwayHome(),
      ...(storeHome === undefined ? {} : { storeHome }),
      templates: templatesFolder,
    },
    connect: async (...call) => (await import('../ssh/connection.ts')).connectSsh(...call),
    newKeyPair: async (comment) => (await import('../ssh/connection.ts')).generateKeyPair(comment),
    readTemplate: (file) => readFile(join(templatesFolder, file), 'utf8'),
    now: () => new Date(),
    userHome,
    sshAgent: env.SSH_AUTH_SOCK || windowsSshAgent(platform),
    clientPaths: {
      dockerConfig: env.DOCKER_CONFIG || join(userHome, '.docker'),
      ssh: join(userHome, '.ssh'),
      dockerMachine: dockerMachineStorePath(env, userHome),
    },
  };
}

import { setMaxListeners } from 'node:events';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import type { World } from '../operations/world.ts';
import type { Store } from '../machine/store.ts';
import { resolveSlipwayHome } from '../computer/slipway-home.ts';

/** Where this package keeps what it brings besides its program. */
export const packageFile = join(import.meta.dirname, '..', 'package.json');
const templatesFolder = join(import.meta.dirname, '..', 'templates');

/** The folder of all that Slipway keeps. */
export function slipwayHome(): string {
  return resolveSlipwayHome(process.env, homedir());
}

/** Where the old docker-machine keeps its machines. */
export function dockerMachineStorePath(env: Readonly<Record<string, string | undefined>>, userHome: string): string {
  return env.MACHINE_STORAGE_PATH || join(userHome, '.docker', 'machine');
}

/** What ends the work of this process. */
export function createInterruptController(): AbortController {
  const interrupt = new AbortController();
  // Every machine at work listens for the end; Node takes more than ten for a leak, and says so to the user.
  setMaxListeners(0, interrupt.signal);
  return interrupt;
}

/**
 * The effects of this process on the world; where its machines are kept, what it shows and when it stops is the
 * program's to say.
 */
export function createWorld(
  own: Pick<World, 'progress' | 'signal' | 'sudoPassword' | 'debug' | 'startSpareBuild'> & {
    readonly store: Store;
    /** See `Computer.records`. */
    readonly records?: string;
  },
): World {
  const { records: storeHome, ...given } = own;
  const userHome = homedir();
  const { platform, arch, env } = process;
  return {
    ...given,
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
    sshAgent: env.SSH_AUTH_SOCK || undefined,
    clientPaths: {
      dockerConfig: env.DOCKER_CONFIG || join(userHome, '.docker'),
      ssh: join(userHome, '.ssh'),
      dockerMachine: dockerMachineStorePath(env, userHome),
    },
  };
}

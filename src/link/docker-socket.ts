import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmod, lstat, mkdir } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { deleteFile, localFileError } from '../computer/files.ts';
import { networkReasonOf, SlipwayError } from '../errors.ts';
import { connectEngine } from './connect-engine.ts';
import type { EngineClient } from './container-events.ts';
import { joinStreams } from './join-streams.ts';

/** The longest path of a socket, in bytes, that all systems take: macOS has 104, of which one ends the text. */
const LONGEST_PATH = 103;

/**
 * Returns where a machine's socket is: in its folder, or in a shorter place if the system takes no path that long. On
 * Windows it is a named pipe.
 */
export function dockerSocketPath(
  machineFolder: string,
  platform: NodeJS.Platform,
  userId: number = userInfo().uid,
): string {
  const id = createHash('sha256').update(machineFolder).digest('hex').slice(0, 16);
  if (platform === 'win32') return String.raw`\\.\pipe\slipway-${id}`;
  const path = join(machineFolder, 'docker.sock');
  return Buffer.byteLength(path) <= LONGEST_PATH ? path : `/tmp/slipway-${userId}/${id}.sock`;
}

/** Returns the URL of a machine's socket, as DOCKER_HOST takes it. */
export function dockerSocketUrl(path: string): string {
  return path.startsWith('\\') ? `npipe://${path.replaceAll('\\', '/')}` : `unix://${path}`;
}

export type DockerSocketOptions = {
  /** From `dockerSocketPath`. */
  readonly path: string;
  readonly platform: NodeJS.Platform;
  /** The machine's name, for messages. */
  readonly name: string;
  /** Returns the engine as it is reached now. */
  readonly findEngine: () => Promise<EngineClient>;
};

/**
 * Serves a machine's engine on a socket that only this user can open. Each connection goes to the engine's endpoint
 * with the machine's certificates, so that a client needs none. Replaces a socket that a killed process left behind.
 */
export async function serveDockerSocket(options: DockerSocketOptions): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).once('close', () => sockets.delete(socket));
    void serveClient(socket, options);
  });
  await listen(server, options).catch((error: unknown) => {
    throw localFileError(options.path, error);
  });
  server.on('error', () => {});
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      // Deletes the socket too.
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function listen(server: Server, { path, platform }: DockerSocketOptions): Promise<void> {
  const hasFile = platform !== 'win32';
  if (hasFile) {
    await prepareFolder(dirname(path));
    await deleteFile(path);
  }
  server.listen(path);
  await once(server, 'listening');
  if (hasFile) await chmod(path, 0o600);
}

/** Creates the folder of a socket. In /tmp, another user may have created it: then it is not used. */
async function prepareFolder(folder: string): Promise<void> {
  await mkdir(folder, { mode: 0o700, recursive: true });
  const stats = await lstat(folder);
  const isPrivate = stats.isDirectory() && stats.uid === userInfo().uid && (stats.mode & 0o077) === 0;
  if (folder.startsWith('/tmp/slipway-') && !isPrivate)
    throw new SlipwayError('LOCAL_FILES', `Other users can open ${folder}, so no socket is created there`, {
      hint: `Remove it: sudo rm -r ${folder}`,
    });
}

async function serveClient(
  socket: Socket,
  { name, findEngine }: Pick<DockerSocketOptions, 'name' | 'findEngine'>,
): Promise<void> {
  try {
    const { endpoint, tls } = await findEngine();
    const engine = await connectEngine(endpoint, tls);
    if (socket.destroyed) engine.destroy();
    else joinStreams(socket, engine);
  } catch (error) {
    // As an engine reports its own errors, so that clients print the sentence.
    const message = `The machine "${name}" does not answer: ${networkReasonOf(error)}. Start it: slipway start ${name}`;
    const body = `${JSON.stringify({ message })}\n`;
    const head = [
      'HTTP/1.1 503 Service Unavailable',
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
    ];
    socket.resume().end(`${head.join('\r\n')}\r\n\r\n${body}`);
    // A client that ignores the answer must not keep the connection.
    socket.setTimeout(5000, () => socket.destroy());
    socket.once('end', () => socket.destroySoon());
  }
}

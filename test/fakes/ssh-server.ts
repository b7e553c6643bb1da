import { once } from 'node:events';
import { connect as connectSocket, type AddressInfo } from 'node:net';
import ssh2, { type Connection, type ServerChannel } from 'ssh2';
import { generateKeyPair } from '../../src/ssh/connection.ts';
import { toPublicKeyLine } from '../../src/ssh/host-key.ts';

export type SshKeys = { readonly private: string; readonly public: string };

export function generateKeys(type: 'ed25519' | 'rsa' = 'ed25519'): SshKeys {
  return type === 'rsa' ? ssh2.utils.generateKeyPairSync('rsa', { bits: 2048 }) : generateKeyPair('');
}

export function generateEncryptedKeys(passphrase: string): SshKeys {
  return ssh2.utils.generateKeyPairSync('ed25519', { passphrase, cipher: 'aes256-ctr', rounds: 1 });
}

export type SshServer = AsyncDisposable & {
  readonly port: number;
  /** Its host keys as known_hosts lines, in the order given. */
  readonly hostKeys: readonly string[];
  /** What happened, in order: `connect`, `auth METHOD USER`, `exec COMMAND`, `forward HOST:PORT`, `close`. */
  readonly events: readonly string[];
  /** Resolves when the last connection has closed. */
  waitUntilIdle(): Promise<void>;
};

export type OnExec = (command: string, channel: ServerChannel, connection: Connection) => void;

/**
 * Starts ssh2's own server on 127.0.0.1: it accepts the `authorized` keys, executes what the test defines, and forwards
 * ports.
 */
export async function startSshServer({
  keys = [generateKeys()],
  authorized,
  onExec = (_command, channel) => exitChannel(channel, 0),
  nologin,
  closesTunnels = false,
}: {
  readonly keys?: readonly SshKeys[];
  readonly authorized: readonly SshKeys[];
  readonly onExec?: OnExec;
  /** As with /etc/nologin, shows this message to each client that logs in, and closes the connection. */
  readonly nologin?: string;
  /** Closes the connection of a client that opens a tunnel. */
  readonly closesTunnels?: boolean;
}): Promise<SshServer> {
  const events: string[] = [];
  const open = new Set<Connection>();
  const allowed = authorized.map((key) => publicBlob(key));
  let wake = (): void => {};
  const server = new ssh2.Server(
    { hostKeys: keys.map((key) => key.private), ...(nologin ? { banner: nologin } : {}) },
    (connection) => {
      events.push('connect');
      open.add(connection);
      connection.on('error', () => {});
      connection.on('close', () => {
        events.push('close');
        open.delete(connection);
        wake();
      });
      connection.on('authentication', (context) => {
        events.push(`auth ${context.method} ${context.username}`);
        if (context.method !== 'publickey' || !allowed.some((blob) => blob.equals(context.key.data)))
          return context.reject();
        const key = ssh2.utils.parseKey(authorized[0]?.public ?? '');
        if (key instanceof Error) throw key;
        return nologin === undefined ? context.accept() : connection.end();
      });
      connection.on('tcpip', (accept, _reject, { destIP, destPort }) => {
        events.push(`forward ${destIP}:${destPort}`);
        if (closesTunnels) return void connection.end();
        const socket = connectSocket(destPort, destIP);
        socket.once('error', () => {});
        socket.once('connect', () => {
          const channel = accept();
          channel.pipe(socket).pipe(channel);
          channel.on('error', () => socket.destroy());
        });
      });
      connection.on('session', (acceptSession) => {
        acceptSession().on('exec', (acceptExec, _reject, { command }) => {
          events.push(`exec ${command}`);
          onExec(command, acceptExec(), connection);
        });
      });
    },
  );
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    hostKeys: keys.map((key) => toPublicKeyLine(publicBlob(key))),
    events,
    async waitUntilIdle() {
      while (open.size > 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    async [Symbol.asyncDispose]() {
      for (const connection of open) connection.end();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

/** Ends a remote command. */
export function exitChannel(channel: ServerChannel, code: number): void {
  channel.exit(code);
  channel.end();
}

function publicBlob({ public: text }: SshKeys): Buffer {
  const key = ssh2.utils.parseKey(text);
  if (key instanceof Error) throw key;
  return key.getPublicSSH();
}

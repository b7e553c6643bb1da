import { duplexPair, type Duplex } from 'node:stream';
import type { FolderServer } from '../../src/link/folders/sftp-server.ts';

export type Field = string | number | Buffer;

/** Returns the bytes of one packet: numbers as four bytes, text with its length, and buffers as they are. */
export function packetOf(type: number, ...fields: readonly Field[]): Buffer {
  const body = Buffer.concat([Buffer.of(type), ...fields.map(bytesOf)]);
  return Buffer.concat([numberBytes(body.length), body]);
}

const bytesOf = (field: Field): Buffer => {
  if (typeof field === 'number') return numberBytes(field);
  return typeof field === 'string' ? Buffer.concat([numberBytes(Buffer.byteLength(field)), Buffer.from(field)]) : field;
};

function numberBytes(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export type Answer = {
  readonly type: number;
  /** What follows the request's number. */
  readonly body: Buffer;
  /** The number of a status, or undefined for another answer. */
  readonly status: number | undefined;
  /** The first text of a handle, data or name. */
  readonly text: string;
};

/** A client that writes packets as a hostile machine could. */
export type SftpClient = {
  readonly stream: Duplex;
  /** Resolves with the answer. The first field after the type is the request's number, which is chosen here. */
  request(type: number, ...fields: readonly Field[]): Promise<Answer>;
  sendInit(extensions?: Readonly<Record<string, string>>): Promise<void>;
};

export function connectClient(server: FolderServer): SftpClient {
  const [stream, other] = duplexPair();
  server.serve(other);
  // As on a socket.
  other.once('close', () => stream.destroy());
  const waiting = new Map<number, (answer: Answer) => void>();
  let input = Buffer.alloc(0);
  let count = 0;
  stream.on('data', (chunk: Buffer) => {
    input = Buffer.concat([input, chunk]);
    while (input.length >= 4 && input.length >= 4 + input.readUInt32BE(0)) {
      const packet = input.subarray(4, 4 + input.readUInt32BE(0));
      input = input.subarray(4 + packet.length);
      const id = packet.readUInt32BE(1);
      waiting.get(id)?.(answerOf(packet));
      waiting.delete(id);
    }
  });
  stream.on('error', () => {});
  const answerTo = (id: number): Promise<Answer> =>
    new Promise((resolve, reject) => {
      waiting.set(id, resolve);
      stream.once('close', () => reject(new Error('The connection was closed')));
    });
  stream.setMaxListeners(0);
  return {
    stream,
    request(type, ...fields) {
      const id = (count += 1) + 100;
      const answer = answerTo(id);
      stream.write(packetOf(type, id, ...fields));
      return answer;
    },
    async sendInit(extensions = {}) {
      const answer = answerTo(3);
      stream.write(packetOf(1, 3, ...Object.entries(extensions).flat()));
      await answer;
    },
  };
}

function answerOf(packet: Buffer): Answer {
  const type = packet.readUInt8(0);
  const body = packet.subarray(5);
  const textAt = type === 104 ? 4 : 0;
  const hasText = type === 102 || type === 103 || type === 104;
  const text = hasText ? body.toString('utf8', textAt + 4, textAt + 4 + body.readUInt32BE(textAt)) : '';
  return { type, body, status: type === 101 ? body.readUInt32BE(0) : undefined, text };
}
